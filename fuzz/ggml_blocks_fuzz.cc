// Any bytes are blocks: the first byte chooses the format.
#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/dtype_names.h"
#include "checkpoint/ggml_blocks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const fathom::GgmlTraits* traits = fathom::FindGgmlTraits(data[0] % 32);
  if (traits == nullptr || traits->block_numel == 1) return 0;
  const std::vector<uint8_t> copy(data + 1, data + size);  // of the exact size, so that a read beyond it is seen
  const int64_t num_blocks = static_cast<int64_t>(copy.size()) / traits->block_bytes;
  std::vector<float> values(static_cast<size_t>(num_blocks * traits->block_numel));
  if (num_blocks > 0) fathom::DecodeGgmlBlocks(traits->type, std::as_bytes(std::span(copy)).data(), num_blocks, values.data());
  return 0;
}
