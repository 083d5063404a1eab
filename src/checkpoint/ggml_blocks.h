// ggml's block formats: each block of 32 or 256 values holds small integers and their scales.
// Source of the layouts: ggml's quantisation structures; values equal gguf.quants.dequantize of the gguf package to the bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "checkpoint/tensor_file.h"

namespace fathom {

// Decodes `num_blocks` blocks of `type` (any but F32, F16, BF16) at `blocks` into TraitsOf(type).block_numel * num_blocks floats.
void DecodeGgmlBlocks(GgmlType type, const std::byte* blocks, int64_t num_blocks, float* out);

}  // namespace fathom
