// The tensors of a GGUF file: its directory (base/gguf.h) checked against the file and mapped.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/gguf.h"
#include "checkpoint/tensor_file.h"

namespace fathom {

// The entries of one file under their GGUF names; bytes are views of `file`. Throws UserError naming the tensor, the rule and the values for a
// format that is not read, a row that is no whole number of blocks, and data outside the file or shared with another tensor.
std::vector<TensorEntry> GgufEntries(const GgufHeader& header, std::span<const std::byte> file, const std::string& what);

struct OpenedGguf {
  GgufHeader header;  // of the first part: it holds the metadata
  std::unique_ptr<TensorFiles> files;
};
// A file, or all parts NAME-00001-of-000NN.gguf of one by its first.
OpenedGguf OpenGgufParts(const std::filesystem::path& first_part);

}  // namespace fathom
