// MLA's attention in training: what stands between the up-projections and the packed attention, without copies that a cache would want.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace fathom::ops {

// A copy of q [T, H, D] whose last Dr values of each head are rotated as ops/rope/rope.h says; cos, sin [T, Dr / 2] float32. Differentiable in q.
at::Tensor rope_tail(const at::Tensor& q_THD, const at::Tensor& cos_TD, const at::Tensor& sin_TD, bool interleaved);

// packed_attention of q [T, H, nope + rope] with keys [kv's first nope values of the head; k_rope of the token] and kv's other values:
// kv [T, H, nope + v], k_rope [T, rope] (rotated) -> [T, H, v]. cu_seqlens, scale, topk_idx, max_len as packed_attention. Differentiable in q, kv, k_rope;
// the gradient of k_rope is summed over heads in float32.
at::Tensor mla_packed_attention(const at::Tensor& q_THD, const at::Tensor& kv_THC, const at::Tensor& k_rope_TD, const at::Tensor& cu_seqlens, double scale,
                                const std::optional<at::Tensor>& topk_idx, int64_t max_len);

}  // namespace fathom::ops
