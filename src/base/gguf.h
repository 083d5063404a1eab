// The GGUF container (versions 2 and 3, little endian): metadata and the directory of tensors, no tensors' values.
// Format: magic "GGUF", u32 version, u64 tensor count, u64 key count, key-value pairs, tensor infos, padding to
// general.alignment (32 unless said), tensor data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace fathom {

// Metadata of one key. Integers of all widths are int64/uint64, floats double. Arrays are homogeneous;
// nested arrays are refused.
using GgufValue = std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<bool>, std::vector<int64_t>,
                               std::vector<double>, std::vector<std::string>>;

struct GgufTensorInfo {
  std::string name;
  std::vector<int64_t> shape;  // outermost first, as in PyTorch (the file has innermost first)
  uint32_t type = 0;           // ggml_type
  uint64_t offset = 0;         // from the start of the data section
};

struct GgufHeader {
  uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensorInfo> tensors;
  uint64_t data_offset = 0;  // of the data section in the file

  // The value of `key`, or nullptr. Get* throw UserError naming the key when it is absent or of another kind;
  // integers of either sign kind are accepted where they fit.
  const GgufValue* Find(std::string_view key) const;
  int64_t GetInt(std::string_view key) const;
  double GetFloat(std::string_view key) const;
  const std::string& GetString(std::string_view key) const;
  const std::vector<std::string>& GetStrings(std::string_view key) const;
  const std::vector<int64_t>& GetInts(std::string_view key) const;
};

// True when `bytes` begin with the magic.
bool IsGguf(std::span<const std::byte> bytes);

// Parses the header of a file's bytes (which may go on with data). `what` names the file in errors. Every length is
// checked against what is left before anything is allocated. Throws UserError naming the key or tensor.
GgufHeader ParseGgufHeader(std::span<const std::byte> bytes, const std::string& what);

}  // namespace fathom
