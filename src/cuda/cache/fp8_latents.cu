#include "cuda/cache/fp8_latents.cuh"
#include "cuda/cache/fp8_latents_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

// A block a token, a warp a group of 128 latents; the last warp copies the rope part.
template <typename T>
__global__ void StoreFp8LatentsKernel(StoreFp8LatentsParams p) {
  LetNextStart();
  WaitForPrevious();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, groups = p.width / kFp8Group;
  const int64_t token = blockIdx.x, row_bytes = p.width + groups * 4 + 2 * static_cast<int64_t>(p.rope);
  unsigned char* row = static_cast<unsigned char*>(p.cache) + p.slots[token] * row_bytes;
  if (warp == groups) {
    const T* k_rope = static_cast<const T*>(p.k_rope) + token * p.k_rope_stride;
    for (int i = lane; i < p.rope; i += 32)
      *reinterpret_cast<__nv_bfloat16*>(row + p.width + groups * 4 + 2 * i) = FromFloat<__nv_bfloat16>(ToFloat(k_rope[i]));
    return;
  }
  const T* latent = static_cast<const T*>(p.latent) + token * p.latent_stride + warp * kFp8Group + lane * 4;
  float values[4], most = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[i] = ToFloat(latent[i]);
    most = fmaxf(most, fabsf(values[i]));
  }
  const float scale = WarpMax(most) / kFp8Max;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float value = scale > 0.0f ? values[i] / scale : 0.0f;
    row[warp * kFp8Group + lane * 4 + i] = __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3);
  }
  if (lane == 0) *reinterpret_cast<float*>(row + p.width + warp * 4) = scale;
}

}  // namespace

void LaunchStoreFp8Latents(const StoreFp8LatentsParams& p, cudaStream_t stream) {
  const int threads = (p.width / kFp8Group + 1) * 32;
  DispatchDtype(p.dtype, [&](auto type) { LaunchKernel(StoreFp8LatentsKernel<typename decltype(type)::type>, p.tokens, threads, 0, stream, p); });
}

}  // namespace fathom::cuda
