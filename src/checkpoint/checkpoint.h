// A model on disk: a folder in Hugging Face's layout or a GGUF file. Opening reads headers and the configuration only.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/gguf.h"
#include "checkpoint/tensor_file.h"
#include "model/config.h"
#include "model/model.h"

namespace fathom {

struct Checkpoint {
  std::filesystem::path path;
  ModelConfig config;
  Json generation_config;               // generation_config.json or {} (GGUF: {})
  std::unique_ptr<TensorFiles> files;   // null when the folder has a config.json and no weights (inspect works on it)
  bool is_gguf = false;
  std::shared_ptr<const GgufHeader> gguf;  // the metadata of a GGUF file, else null

  // Opens a folder (model.safetensors | model.safetensors.index.json | pytorch_model*.bin), a .gguf file (split ones by their first part) or a config.json
  // (no weights). Where the files hold no MTP module the configuration has none either.
  // Throws UserError.
  static Checkpoint Open(const std::filesystem::path& path);
};

// Parses --dtype: auto, bf16, fp16, fp32. auto: the checkpoint's own dtype; bf16 for FP8 and GGUF files.
at::ScalarType ResolveDtype(const std::string& flag, const Checkpoint& checkpoint);

// Whether the files hold every matrix that V3 keeps in FP8 (IsFp8Matrix) so: ModelOptions::keep_fp8 can then be asked for.
bool HasFp8Blocks(const Checkpoint& checkpoint);

// Checks that every weight of the table is there with its shape and nothing is left over, compares the memory needed with what is free, and fills a new model.
// Throws UserError (shape or name that does not fit: tensor, rule, values) or MachineError (memory).
std::unique_ptr<Model> LoadModel(const Checkpoint& checkpoint, const ModelOptions& options);

// Writes config.json and model-*.safetensors with index (or one model.safetensors below max_shard_bytes) into a new folder, atomically: written beside and
// renamed when whole. The tokenizer's files are copied by the caller. dtype: of the floating weights in the file.
void SaveHuggingFace(Model& model, const std::filesystem::path& out, at::ScalarType dtype, int64_t max_shard_bytes);

}  // namespace fathom
