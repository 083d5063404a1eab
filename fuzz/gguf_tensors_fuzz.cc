// GGUF files: the directory against the data, every block format, and the configuration in the metadata.
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/gguf.h"
#include "base/log.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_file.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fathom::SetLogLevel("off");
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    const fathom::GgufHeader header = fathom::ParseGgufHeader(bytes, "fuzz");
    std::vector<fathom::TensorEntry> entries = fathom::GgufEntries(header, bytes, "fuzz");
    for (const fathom::TensorEntry& entry : entries) {
      if (entry.numel() > 8192) continue;
      std::vector<float> values(static_cast<size_t>(entry.numel()) + 1);
      fathom::DecodeRows(entry, 0, entry.num_rows(), values.data(), at::kFloat);
    }
    const fathom::TensorFiles files({}, std::move(entries));
    fathom::ParseModelConfig(fathom::HubConfigFromGguf(header, files), "fuzz");
  } catch (const fathom::UserError&) {
  }
  return 0;
}
