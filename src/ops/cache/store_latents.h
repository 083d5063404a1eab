// What stands between MLA's projections and its attention over the cache, in one.
#pragma once

#include <ATen/core/Tensor.h>

namespace fathom::ops {

// cache[slots[t]] = (rms_norm(kv_a[t, :R], w, eps), rope(kv_a[t, R:])); returns rope(q_rope) [T, H, Dr], packed.
// cache [S, R + Dr] contiguous, slots [T] int64, kv_a [T, R + Dr], w [R], q_rope [T, H, Dr], cos and sin [T, Dr / 2] float32; rotated as ops/rope/rope.h
// says, normalised as ops/norm/norm.h. One dtype (f32, bf16, f16) but for cos and sin; last dim of kv_a and q_rope contiguous.
// Inference only (Autograd throws).
at::Tensor store_latents(const at::Tensor& cache_SW, const at::Tensor& slots_T, const at::Tensor& kv_a_TW, const at::Tensor& w_R,
                         const at::Tensor& q_rope_THD, const at::Tensor& cos_TD, const at::Tensor& sin_TD, double eps, bool interleaved);

}  // namespace fathom::ops
