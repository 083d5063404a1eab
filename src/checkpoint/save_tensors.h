// Tensors into one safetensors file.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace fathom {

// Writes float32, bfloat16 or float16 tensors under their names, atomically and without a second copy of contiguous CPU tensors.
// Throws MachineError when the file cannot be written.
void SaveTensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace fathom
