#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "cuda/cache/store_latents_kernel.h"
#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

Tensor StoreLatents(const Tensor& cache_SW, const Tensor& slots_T, const Tensor& kv_a_TW, const Tensor& w_R, const Tensor& q_rope_THD,
                    const Tensor& cos_TD, const Tensor& sin_TD, double eps, bool interleaved) {
  const c10::cuda::CUDAGuard guard(cache_SW.device());
  Tensor q_out = at::empty(q_rope_THD.sizes(), q_rope_THD.options());
  if (slots_T.numel() == 0) return q_out;
  StoreLatentsParams params;
  params.cache = cache_SW.mutable_data_ptr();
  params.slots = slots_T.const_data_ptr<int64_t>();
  params.kv_a = kv_a_TW.const_data_ptr();
  params.w = w_R.const_data_ptr();
  params.q = q_rope_THD.const_data_ptr();
  params.q_out = q_out.mutable_data_ptr();
  params.cos = cos_TD.const_data_ptr<float>();
  params.sin = sin_TD.const_data_ptr<float>();
  params.kv_a_stride = kv_a_TW.stride(0);
  params.q_token_stride = q_rope_THD.stride(0);
  params.q_head_stride = q_rope_THD.stride(1);
  params.tokens = static_cast<int>(slots_T.numel());
  params.heads = static_cast<int>(q_rope_THD.size(1));
  params.latent = static_cast<int>(w_R.numel());
  params.rope = static_cast<int>(q_rope_THD.size(2));
  params.eps = static_cast<float>(eps);
  params.interleaved = interleaved;
  params.dtype = DtypeOf(cache_SW);
  LaunchStoreLatents(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return q_out;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) { m.impl("store_latents", TORCH_FN(StoreLatents)); }

}  // namespace fathom::cuda
