// From the M of `--model M` to what a request needs.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "engine/generate.h"
#include "text/chat_template.h"

namespace fathom {

struct LoadOptions {
  std::string dtype = "auto";  // --dtype
  at::Device device = at::kCPU;
  int64_t gpu_layers = -1;  // --gpu-layers: of the last layers, how many are on `device` (-1: all)
  bool cpu_moe = false;     // --cpu-moe: the routed experts stay on the CPU
  CacheFormat kv_cache = CacheFormat::kModel;  // --kv-cache-dtype
  bool need_tokenizer = true;  // false: a model without one gives a null tokenizer instead of an error
};

struct LoadedCheckpoint {
  LoadedModel loaded;
  std::filesystem::path path;
  Json generation_config;
};

// Opens, checks and loads weights and tokenizer. Throws UserError, MachineError.
LoadedCheckpoint LoadForGeneration(const std::filesystem::path& path, const LoadOptions& options);

// The model's chat template. Throws UserError naming the model when it has none.
std::shared_ptr<const ChatTemplate> LoadChatTemplate(const std::filesystem::path& path);

}  // namespace fathom
