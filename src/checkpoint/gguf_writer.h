// Writing a GGUF file (version 3, little endian).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/outgoing_tensor.h"
#include "checkpoint/weight_source.h"

namespace fathom {

// Key-value pairs in the order in which they are added.
class GgufMetadata {
 public:
  void AddUnsigned(std::string_view key, uint32_t value);
  void AddFloat(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddString(std::string_view key, std::string_view value);
  void AddStrings(std::string_view key, const std::vector<std::string>& values);
  void AddInts(std::string_view key, const std::vector<int32_t>& values);

  uint64_t num_keys() const { return num_keys_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void AddKey(std::string_view key, uint32_t type);

  std::string bytes_;
  uint64_t num_keys_ = 0;
};

// The metadata of the architecture, and the tensors under GGUF's names in its layout: experts stacked, q and k of Llama in pairs, kv_b_proj in the two halves
// of the absorbed form, vectors and the router in float32, everything else in `dtype`. MTP modules are left out with a log line.
struct GgufExport {
  GgufMetadata metadata;
  std::vector<OutgoingTensor> tensors;
};
// The sources must outlive the result. Throws UserError for a configuration that GGUF cannot express here (V3.2, dynamic RoPE, softmax with a temperature).
GgufExport PlanGgufExport(const ModelConfig& config, const std::vector<WeightSource>& sources, at::ScalarType dtype, const std::string& name);

// Writes to a file beside `path` and renames it when it is whole. Throws UserError when `path` exists, MachineError when it cannot be written.
void WriteGguf(const GgufExport& gguf_export, const std::filesystem::path& path);

}  // namespace fathom
