#include "cuda/cache/store_latents_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256, kHeadsABlock = 8;

// Block (token, 0) normalises the latent and rotates the key; block (token, 1 + i) rotates heads 8 i .. 8 i + 7 of the query.
template <typename T>
__global__ __launch_bounds__(kThreads) void StoreLatentsKernel(StoreLatentsParams p) {
  __shared__ float scratch[32];
  LetNextStart();
  WaitForPrevious();
  const int64_t token = blockIdx.x;
  const int half = p.rope / 2, first_head = (static_cast<int>(blockIdx.y) - 1) * kHeadsABlock;
  const bool is_key = blockIdx.y == 0;
  const float *cos = p.cos + token * half, *sin = p.sin + token * half;
  const T* kv_a = static_cast<const T*>(p.kv_a) + token * p.kv_a_stride;
  T* row = static_cast<T*>(p.cache) + p.slots[token] * (static_cast<int64_t>(p.latent) + p.rope);
  const int heads = is_key ? 1 : min(kHeadsABlock, p.heads - first_head);
  for (int i = threadIdx.x; i < heads * half; i += kThreads) {
    const int head = first_head + i / half, pair = i % half;
    const T* in = is_key ? kv_a + p.latent : static_cast<const T*>(p.q) + token * p.q_token_stride + head * p.q_head_stride;
    T* out = is_key ? row + p.latent : static_cast<T*>(p.q_out) + (token * p.heads + head) * p.rope;
    const float a = ToFloat(in[p.interleaved ? 2 * pair : pair]), b = ToFloat(in[p.interleaved ? 2 * pair + 1 : pair + half]);
    const float c = cos[pair], s = sin[pair];
    out[pair] = FromFloat<T>(a * c - b * s);
    out[pair + half] = FromFloat<T>(b * c + a * s);
  }
  if (!is_key) return;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < p.latent; i += kThreads) {
    const float value = ToFloat(kv_a[i]);
    squares = fmaf(value, value, squares);
  }
  const float inverse = 1.0f / sqrtf(BlockSum(squares, scratch) / static_cast<float>(p.latent) + p.eps);
  const T* w = static_cast<const T*>(p.w);
  for (int i = threadIdx.x; i < p.latent; i += kThreads) row[i] = FromFloat<T>(ToFloat(FromFloat<T>(ToFloat(kv_a[i]) * inverse)) * ToFloat(w[i]));
}

}  // namespace

void LaunchStoreLatents(const StoreLatentsParams& p, cudaStream_t stream) {
  const dim3 grid(p.tokens, 1 + (p.heads + kHeadsABlock - 1) / kHeadsABlock);
  DispatchDtype(p.dtype, [&](auto type) { LaunchKernel(StoreLatentsKernel<typename decltype(type)::type>, grid, kThreads, 0, stream, p); });
}

}  // namespace fathom::cuda
