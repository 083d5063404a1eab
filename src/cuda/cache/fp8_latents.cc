#include <torch/library.h>

#include "cuda/cache/fp8_latents_kernel.h"
#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

void StoreFp8Latents(const Tensor& cache_SB, const Tensor& slots_T, const Tensor& latent_TR, const Tensor& k_rope_TD) {
  if (slots_T.numel() == 0) return;
  const c10::cuda::CUDAGuard guard(cache_SB.device());
  StoreFp8LatentsParams params;
  params.cache = cache_SB.mutable_data_ptr();
  params.slots = slots_T.const_data_ptr<int64_t>();
  params.latent = latent_TR.const_data_ptr();
  params.k_rope = k_rope_TD.const_data_ptr();
  params.latent_stride = latent_TR.stride(0);
  params.k_rope_stride = k_rope_TD.stride(0);
  params.tokens = static_cast<int>(slots_T.numel());
  params.width = static_cast<int>(latent_TR.size(1));
  params.rope = static_cast<int>(k_rope_TD.size(1));
  params.dtype = DtypeOf(latent_TR);
  TORCH_CHECK(params.width <= 3968, "store_fp8_latents on CUDA: R up to 3968, got ", params.width);
  LaunchStoreFp8Latents(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) { m.impl("store_fp8_latents", TORCH_FN(StoreFp8Latents)); }

}  // namespace fathom::cuda
