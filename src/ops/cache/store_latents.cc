#include "ops/cache/store_latents.h"

#include <torch/library.h>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

// The operators that it joins, one by one.
Tensor StoreLatentsCpu(const Tensor& cache, const Tensor& slots, const Tensor& kv_a, const Tensor& w, const Tensor& q_rope, const Tensor& cos,
                       const Tensor& sin, double eps, bool interleaved) {
  const int64_t R = w.size(0), rope = kv_a.size(1) - R;
  const Tensor latent = RmsNormOp::CallBelowAutograd(kv_a.narrow(1, 0, R), w, eps);
  const Tensor k_rope = RopeOp::CallBelowAutograd(kv_a.narrow(1, R, rope).unsqueeze(1), cos, sin, interleaved).squeeze(1);
  StoreRowsOp::CallBelowAutograd(cache, slots, latent, k_rope);
  return RopeOp::CallBelowAutograd(q_rope, cos, sin, interleaved);
}

}  // namespace

Tensor store_latents(const Tensor& cache_SW, const Tensor& slots_T, const Tensor& kv_a_TW, const Tensor& w_R, const Tensor& q_rope_THD,
                     const Tensor& cos_TD, const Tensor& sin_TD, double eps, bool interleaved) {
  const int64_t T = slots_T.numel();
  FATHOM_CHECK(cache_SW.dim() == 2 && cache_SW.is_contiguous() && kv_a_TW.dim() == 2 && kv_a_TW.size(0) == T && kv_a_TW.size(1) == cache_SW.size(1) &&
                   kv_a_TW.stride(1) == 1,
               "store_latents: cache [S, W] and kv_a [T, W] must agree in W, the cache contiguous, with T = {}", T);
  FATHOM_CHECK(slots_T.dim() == 1 && slots_T.scalar_type() == at::kLong && slots_T.is_contiguous(), "store_latents: slots must be [T] int64");
  FATHOM_CHECK(q_rope_THD.dim() == 3 && q_rope_THD.size(0) == T && q_rope_THD.stride(2) == 1 && q_rope_THD.size(2) % 2 == 0 && w_R.dim() == 1 &&
                   w_R.is_contiguous() && w_R.size(0) + q_rope_THD.size(2) == cache_SW.size(1),
               "store_latents: w [R] and q_rope [T, H, Dr] must make R + Dr = {}", cache_SW.size(1));
  const at::ScalarType dtype = cache_SW.scalar_type();
  FATHOM_CHECK(IsFloatDtype(dtype) && kv_a_TW.scalar_type() == dtype && w_R.scalar_type() == dtype && q_rope_THD.scalar_type() == dtype,
               "store_latents: cache, kv_a, w and q_rope must be one float dtype; the cache is {}, kv_a {}", c10::toString(dtype),
               c10::toString(kv_a_TW.scalar_type()));
  FATHOM_CHECK(cos_TD.dim() == 2 && cos_TD.size(0) == T && cos_TD.size(1) * 2 == q_rope_THD.size(2) && cos_TD.sizes() == sin_TD.sizes() &&
                   cos_TD.scalar_type() == at::kFloat && sin_TD.scalar_type() == at::kFloat,
               "store_latents: cos and sin must be [T, Dr / 2] = [{}, {}] float32", T, q_rope_THD.size(2) / 2);
  return StoreLatentsOp::Call(cache_SW, slots_T, kv_a_TW, w_R, q_rope_THD, cos_TD.contiguous(), sin_TD.contiguous(), eps, interleaved);
}

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("store_latents", TORCH_FN(StoreLatentsCpu)); }
TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("store_latents", TORCH_FN(StoreLatentsOp::NotDifferentiable)); }

}  // namespace fathom::ops
