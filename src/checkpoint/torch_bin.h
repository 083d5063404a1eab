// pytorch_model.bin: a stored zip with data.pkl (names, shapes, strides) and one member a storage.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/tensor_file.h"

namespace fathom {

// The entries of one file; their bytes are views of `file`. Throws UserError.
std::vector<TensorEntry> ParseTorchBin(std::span<const std::byte> file, const std::string& what);

}  // namespace fathom
