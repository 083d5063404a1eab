// Headers of safetensors files: whatever parses must decode without a read outside its bytes.
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    for (const fathom::TensorEntry& entry : fathom::ParseSafetensors(bytes, "fuzz")) {
      if (entry.numel() > 4096) continue;
      std::vector<float> values(static_cast<size_t>(entry.numel()) + 1);
      fathom::DecodeRows(entry, 0, entry.num_rows(), values.data(), at::kFloat);
      entry.dtype_name();
    }
  } catch (const fathom::UserError&) {
  }
  return 0;
}
