// FP8 with block scales, as DeepSeek-V3 trains and stores (arXiv 2412.19437, 3.3): e4m3 values, a float32 scale for each block of 128 values (activations,
// gradients) or of 128 x 128 (weights), sums of 128 products added in float32 with their scales.
// Legend: M rows (tokens), K columns, N rows of a weight, E experts; MB, KB, NB blocks of 128 along them, a ragged last block is a block.
//
// A block with largest magnitude a is stored with scale s = max(a, 1e-30) / 448 (power_of_two: the least power of two not below that; V3.1's ue8m0)
// as values v = e4m3(x * (1 / s)), all in float32, rounded to nearest even: x is about v s.
// Products keep each operand with the summed dimension innermost, since tensor cores take FP8 in no other way: so there are two forms of an activation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace fathom::ops {

inline constexpr int64_t kFp8Block = 128;
// Blocks that hold `size` values; the last may be ragged.
inline int64_t NumFp8Blocks(int64_t size) { return (size + kFp8Block - 1) / kFp8Block; }

// x [M, K] in blocks of 1 x 128: for products whose sum runs over K.
struct Fp8Rows {
  at::Tensor values;  // [M, K] float8_e4m3fn
  at::Tensor scales;  // [KB, M] float32
};
// x [M, K] in blocks of 128 x 1, transposed: for products whose sum runs over M (weight gradients). Rows are cut at the experts' limits first: expert e has
// ceil(rows / 128) blocks, one expert's after the other's, the last one filled up with zeros. MB = (M + 127 E) / 128 blocks have room for any limits;
// what lies past the used ones is undefined. Without experts MB = ceil(M / 128).
struct Fp8Columns {
  at::Tensor values;  // [MB, K, 128] float8_e4m3fn
  at::Tensor scales;  // [MB, K] float32
};
// Weights in blocks of 128 x 128.
struct Fp8Blocks {
  at::Tensor values;  // [E, N, K] float8_e4m3fn
  at::Tensor scales;  // [E, NB, KB] float32
};

// x [M, K], any strides with K innermost: f32, bf16 or f16. offsets [E + 1] int32 or none. Not differentiable (Autograd throws), like all below.
Fp8Rows fp8_quantize_rows(const at::Tensor& x_MK, bool power_of_two = false);
Fp8Columns fp8_quantize_columns(const at::Tensor& x_MK, const std::optional<at::Tensor>& offsets, bool power_of_two = false);
// Both by one reading of x.
std::pair<Fp8Rows, Fp8Columns> fp8_quantize_both(const at::Tensor& x_MK, const std::optional<at::Tensor>& offsets, bool power_of_two = false);
// w [E, N, K] contiguous. `transposed`: the same values as [E, K, N], scales [E, KB, NB] (for gradients of inputs), by the same reading.
struct Fp8WeightForms {
  Fp8Blocks plain, transposed;
};
Fp8WeightForms fp8_quantize_weight(const at::Tensor& w_ENK, bool power_of_two = false);

// y[m, n] = sum_k x[m, k] w[e, n, k] for rows offsets[e] <= m < offsets[e + 1] (none: E = 1, all rows): [M, N] of `dtype`, bf16 or f32.
// On CUDA before Hopper, or where K is no multiple of 16 or N none of 8, values are expanded to bf16 first.
// The input's gradient is the same product with the weight's transposed form.
at::Tensor fp8_linear(const Fp8Rows& x, const Fp8Blocks& w, const std::optional<at::Tensor>& offsets, at::ScalarType dtype);

// dw[e, n, k] = sum of dy[m, n] x[m, k] over the rows m of expert e: [E, N, K] of `dtype`, bf16 or f32; zeros for an expert without rows.
// dy and x have the same offsets; num_rows is M.
at::Tensor fp8_wgrad(const Fp8Columns& dy, const Fp8Columns& x, const std::optional<at::Tensor>& offsets, int64_t num_rows, at::ScalarType dtype);

// Decode: y[m, n] = sum_k x[m, k] w[e, n, k] + bias[n] with x as it is, not quantised, and the weight's values expanded on the way: up to kMaxLinearRows rows a dense
// weight. x [M, K] f32, bf16 or f16, contiguous; y in x's dtype, accumulated in float32, the sums' order independent of M.
at::Tensor fp8_linear_rows(const at::Tensor& x_MK, const Fp8Blocks& w, const std::optional<at::Tensor>& bias_N);
// The same for sorted rows of experts, any number of them; meant for few rows an expert.
at::Tensor fp8_grouped_rows(const at::Tensor& x_MK, const Fp8Blocks& w, const at::Tensor& offsets);

// values * scales in `dtype`: what the stored form stands for (references, other devices). Shapes as Fp8Rows, Fp8Blocks.
at::Tensor fp8_expand(const Fp8Rows& x, at::ScalarType dtype);
at::Tensor fp8_expand(const Fp8Blocks& w, at::ScalarType dtype);

}  // namespace fathom::ops
