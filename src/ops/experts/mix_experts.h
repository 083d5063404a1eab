// A whole mixture of experts for a step of a few tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace fathom::ops {

// Tokens of a step that mix_experts takes. More are better sorted: their experts' weights are then read once for several of them.
inline constexpr int64_t kMaxMixedTokens = 4;

// y[t] = sum_k weights[t, k] F(gate_up[e], down[e], x[t]) + F(shared_gate_up, shared_down, x[t]), e = topk_idx[t, k],
// F(a, b, x) = b swiglu(a x). x [T, D], T <= kMaxMixedTokens; weights [T, K] float32, topk_idx [T, K] int32; gate_up [E, 2F, D], down [E, D, F];
// shared_gate_up [2S, D] and shared_down [D, S], both or neither. One dtype (f32, bf16, f16), everything contiguous. Inference only (Autograd throws).
at::Tensor mix_experts(const at::Tensor& x_TD, const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, const at::Tensor& gate_up, const at::Tensor& down,
                       const std::optional<at::Tensor>& shared_gate_up, const std::optional<at::Tensor>& shared_down);

}  // namespace fathom::ops
