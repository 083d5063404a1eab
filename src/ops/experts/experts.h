// Routed experts on one device: sort tokens by expert, products over groups of rows, weighted sum back.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace fathom::ops {

// Sorts the T*K choices by expert, stably. topk_idx [T, K] int32 in [0, E).
// Returns (order [T*K] int32: sorted row i is choice order[i] = t*K + k; offsets [E+1] int32: expert e has rows offsets[e] .. offsets[e+1]).
// No size depends on data and the host reads nothing from the device.
std::tuple<at::Tensor, at::Tensor> sort_by_expert(const at::Tensor& topk_idx_TK, int64_t num_experts);

// y[i] = x[order[i] / K] : [T*K, D]. Differentiable in x.
at::Tensor gather_tokens(const at::Tensor& x_TD, const at::Tensor& order, int64_t top_k);

// y[t] = sum_k weights[t, k] * x[pos(t*K + k)], pos the inverse of order; float32 accumulation in order of k. [T, D] in x's dtype.
// Differentiable in x and weights.
at::Tensor combine_tokens(const at::Tensor& x_sorted, const at::Tensor& order, const at::Tensor& weights_TK);

// y[i, :] = w[e] x[i, :] for the rows i of expert e: x [M, K], w [E, N, K], offsets [E+1] int32 -> [M, N]. f32, bf16, f16.
// Experts without rows cost nothing (and get a zero gradient). On the CPU, an expert with up to kMaxLinearRows rows uses linear_rows.
// Forward only; src/model's GroupedLinear is the autograd function above it (dgrad and wgrad below).
at::Tensor grouped_linear(const at::Tensor& x_MK, const at::Tensor& w_ENK, const at::Tensor& offsets);
// dx[i] = dy[i] w[e]
at::Tensor grouped_linear_dgrad(const at::Tensor& dy_MN, const at::Tensor& w_ENK, const at::Tensor& offsets);
// dw[e] = sum_i dy[i]^T x[i] over the rows of e: [E, N, K] in x's dtype, accumulated in float32.
at::Tensor grouped_linear_wgrad(const at::Tensor& dy_MN, const at::Tensor& x_MK, const at::Tensor& offsets);

}  // namespace fathom::ops
