// Products of a few rows with a weight, bound by memory: the decode path's matrix product.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace fathom::ops {

inline constexpr int64_t kMaxLinearRows = 16;

// y[m, n] = sum_k x[m, k] w[n, k] + bias[n], accumulated in float32.
// x [M, K] with 0 <= M <= kMaxLinearRows, contiguous; w [N, K] contiguous; bias [N] or none, dtype of w.
// dtypes of (x, w): (f32, f32), (bf16, bf16), (f32, bf16), (f16, f16); y has x's dtype.
// The order of the sums over K depends on K alone, neither on M nor on the number of threads: a row gives the same bits alone
// or among others. Any K and N >= 0 (no multiple required). Not differentiable: its Autograd kernel throws.
at::Tensor linear_rows(const at::Tensor& x_MK, const at::Tensor& w_NK, const std::optional<at::Tensor>& bias_N);

}  // namespace fathom::ops
