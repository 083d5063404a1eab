// The safetensors format: u64 length of the header, JSON header {name: {dtype, shape, data_offsets}}, then the data without holes.
// Source: the format's description at huggingface/safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/tensor_file.h"

namespace fathom {

// Longest header that is read, as in the reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

// The entries of one file, in the order of their data; their bytes are views of `file`. `what` names the file in errors. Throws UserError when the header
// does not describe the file exactly: every tensor's size is shape * dtype, and the tensors fill the data without overlap or hole.
std::vector<TensorEntry> ParseSafetensors(std::span<const std::byte> file, const std::string& what);

// tensor -> file of model.safetensors.index.json or pytorch_model.bin.index.json. File names must be plain names in the same folder.
using ShardIndex = std::map<std::string, std::string>;
ShardIndex ParseShardIndex(const Json& json, const std::string& what);

// Checks that the files hold exactly the tensors that the index says, each where it says. Throws UserError.
void CheckShardIndex(const ShardIndex& index, const TensorFiles& files, const std::string& what);

}  // namespace fathom
