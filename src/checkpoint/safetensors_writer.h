// Writing model.safetensors, or shards with their index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "checkpoint/outgoing_tensor.h"

namespace fathom {

// Writes the tensors, in their order, into files of at most max_shard_bytes of data each (a larger tensor has a file of its own): model.safetensors when one
// file suffices, else model-00001-of-000NN.safetensors and model.safetensors.index.json.
void WriteSafetensors(const std::vector<OutgoingTensor>& tensors, const std::filesystem::path& folder, int64_t max_shard_bytes);

}  // namespace fathom
