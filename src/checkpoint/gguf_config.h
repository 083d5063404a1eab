// A GGUF file's metadata as a Hugging Face configuration.
#pragma once

#include "base/gguf.h"
#include "base/json.h"
#include "checkpoint/tensor_file.h"

namespace fathom {

// The config.json that says what the metadata (and, where the metadata is silent, the tensors: tied embeddings, biases, Llama 3's rope_freqs) says.
// Architectures llama, qwen2 and deepseek2 (V2 and V3). Throws UserError for another one and for keys that do not fit.
Json HubConfigFromGguf(const GgufHeader& header, const TensorFiles& files);

}  // namespace fathom
