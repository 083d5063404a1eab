#include "cuda/cache/store_latents_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/rope/rotate.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256, kHeadsABlock = 8;
constexpr int kManyTokens = 1024;  // from here on a step's bytes count, not its start

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

constexpr int kManyThreads = 256;

// The same for many tokens whose rows are whole vectors: the first `rotating` blocks have a thread for 2 kSize values of a head (the key is the head after the
// query's), the others a warp for a token's latent.
template <typename T, int kPacks>
__global__ __launch_bounds__(kManyThreads) void StoreManyLatentsKernel(const __grid_constant__ StoreLatentsParams p, uint32_t rotating) {
  constexpr int kSize = Vec<T>::kSize;
  LetNextStart();
  WaitForPrevious();
  const int half = p.rope / 2;
  const int64_t row_width = static_cast<int64_t>(p.latent) + p.rope;
  if (blockIdx.x < rotating) {
    const uint32_t index = blockIdx.x * kManyThreads + threadIdx.x, pieces = half / kSize, row = index / pieces, token = row / (p.heads + 1);
    const int head = static_cast<int>(row - token * (p.heads + 1)), first = static_cast<int>(index - row * pieces) * kSize;
    if (token >= p.tokens) return;
    const bool is_key = head == p.heads;
    const T* in = is_key ? static_cast<const T*>(p.kv_a) + token * p.kv_a_stride + p.latent
                         : static_cast<const T*>(p.q) + token * p.q_token_stride + head * p.q_head_stride;
    T* out = is_key ? static_cast<T*>(p.cache) + p.slots[token] * row_width + p.latent
                    : static_cast<T*>(p.q_out) + (static_cast<int64_t>(token) * p.heads + head) * p.rope;
    const Vec<T> a = LoadVec(in + (p.interleaved ? 2 * first : first)), b = LoadVec(in + (p.interleaved ? 2 * first + kSize : half + first));
    float cos[kSize], sin[kSize];
#pragma unroll
    for (int j = 0; j < kSize; j += 4) {
      *reinterpret_cast<float4*>(cos + j) = *reinterpret_cast<const float4*>(p.cos + static_cast<int64_t>(token) * half + first + j);
      *reinterpret_cast<float4*>(sin + j) = *reinterpret_cast<const float4*>(p.sin + static_cast<int64_t>(token) * half + first + j);
    }
    Vec<T> c, d;
    RotatePairs<T, false>(a, b, cos, sin, p.interleaved, false, c, d);
    StoreVec(out + first, c);
    StoreVec(out + half + first, d);
    return;
  }
  const int lane = threadIdx.x % 32, packs = p.latent / kSize;
  const int64_t token = static_cast<int64_t>(blockIdx.x - rotating) * (kManyThreads / 32) + threadIdx.x / 32;
  if (token >= p.tokens) return;
  const T* kv_a = static_cast<const T*>(p.kv_a) + token * p.kv_a_stride;
  T* row = static_cast<T*>(p.cache) + p.slots[token] * row_width;
  Vec<T> values[kPacks];
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (lane + i * 32 < packs) values[i] = LoadVec(kv_a + (lane + i * 32) * kSize);
  }
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (lane + i * 32 >= packs) continue;
#pragma unroll
    for (int j = 0; j < kSize; ++j) squares = fmaf(ToFloat(values[i].values[j]), ToFloat(values[i].values[j]), squares);
  }
  const float inverse = 1.0f / sqrtf(WarpSum(squares) / static_cast<float>(p.latent) + p.eps);
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (lane + i * 32 >= packs) continue;
    const Vec<T> weights = LoadVec(static_cast<const T*>(p.w) + (lane + i * 32) * kSize);
#pragma unroll
    for (int j = 0; j < kSize; ++j)
      values[i].values[j] = FromFloat<T>(ToFloat(FromFloat<T>(ToFloat(values[i].values[j]) * inverse)) * ToFloat(weights.values[j]));
    StoreVec(row + (lane + i * 32) * kSize, values[i]);
  }
}

template <typename T>
bool HasVectors(const StoreLatentsParams& p) {
  constexpr int kSize = Vec<T>::kSize;
  return p.latent % kSize == 0 && p.rope % (2 * kSize) == 0 && p.kv_a_stride % kSize == 0 && p.q_token_stride % kSize == 0 && p.q_head_stride % kSize == 0 &&
         IsAligned16(p.cache) && IsAligned16(p.kv_a) && IsAligned16(p.w) && IsAligned16(p.q) && IsAligned16(p.q_out) && IsAligned16(p.cos) && IsAligned16(p.sin);
}

}  // namespace

void LaunchStoreLatents(const StoreLatentsParams& p, cudaStream_t stream) {
  const dim3 grid(p.tokens, 1 + (p.heads + kHeadsABlock - 1) / kHeadsABlock);
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kPacks = sizeof(T) == 2 ? 2 : 4;
    if (p.tokens >= kManyTokens && p.latent <= kPacks * 32 * Vec<T>::kSize && HasVectors<T>(p)) {
      const int64_t pieces = static_cast<int64_t>(p.tokens) * (p.heads + 1) * (p.rope / 2 / Vec<T>::kSize);
      const auto rotating = static_cast<uint32_t>((pieces + kManyThreads - 1) / kManyThreads), warps = static_cast<uint32_t>(kManyThreads / 32);
      return LaunchKernel(StoreManyLatentsKernel<T, kPacks>, rotating + (p.tokens + warps - 1) / warps, kManyThreads, 0, stream, p, rotating);
    }
    LaunchKernel(StoreLatentsKernel<T>, grid, kThreads, 0, stream, p);
  });
}

}  // namespace fathom::cuda
