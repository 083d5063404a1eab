// Products with weights that stay in ggml's blocks of 32 values: decode reads the bytes of the file and nothing more.
// Legend: M rows, K inputs (a multiple of 32), N outputs, B bytes of a row of blocks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "ops/linear/linear_rows.h"

namespace fathom::ops {

// Numbers are ggml_type's. Each block holds 32 values w from integers q, a half d and (Q4_1) a half m:
// kQ4_0 {d, 16 bytes of nibbles}: d (q - 8); kQ4_1 {d, m, 16 bytes of nibbles}: d q + m; kQ8_0 {d, 32 signed bytes}: d q.
// A byte's low nibble is one of the first 16 values, its high nibble one of the last 16.
enum class BlockFormat : int64_t { kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8 };
inline constexpr int64_t kBlockValues = 32;
constexpr int64_t BlockBytes(BlockFormat format) { return format == BlockFormat::kQ4_0 ? 18 : format == BlockFormat::kQ4_1 ? 20 : 34; }
// The format of that ggml_type, none where there is no kernel.
constexpr std::optional<BlockFormat> BlockFormatOf(int64_t ggml_type) {
  if (ggml_type != 2 && ggml_type != 3 && ggml_type != 8) return std::nullopt;
  return static_cast<BlockFormat>(ggml_type);
}

// y[m, n] = sum_k x[m, k] w[n, k] with w as the blocks say: products are exact or rounded once, sums float32, x is not quantised.
// x [M, K] float32 or bf16, contiguous, 0 <= M <= kMaxLinearRows; blocks [N, B] uint8, contiguous; y has x's dtype. CPU only.
// A row gives the same bits alone or among others. Not differentiable: its Autograd kernel throws.
at::Tensor ggml_linear_rows(const at::Tensor& x_MK, const at::Tensor& blocks_NB, BlockFormat format);

// The values of the blocks, rounded to bf16: blocks [N, B] uint8, contiguous -> [N, K]. CPU only.
at::Tensor ggml_expand(const at::Tensor& blocks_NB, BlockFormat format);

}  // namespace fathom::ops
