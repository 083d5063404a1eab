#include "cuda/launch.cuh"
#include "cuda/rope/rope_kernel.h"
#include "cuda/rope/rotate.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

// A thread a pair. Forward reads (first, second) in x's order and writes half order; backward reads half order and writes x's order.
template <typename T, bool kBackward>
__global__ void RopeKernel(const T* x, const float* cos, const float* sin, T* y, int64_t pairs_total, int64_t x_token_stride, int64_t x_head_stride,
                           int heads, int dim, bool interleaved) {
  LetNextStart();
  WaitForPrevious();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= pairs_total) return;
  const int half = dim / 2;
  const int pair = static_cast<int>(index % half);
  const int64_t row = index / half;
  const int head = static_cast<int>(row % heads);
  const int64_t token = row / heads;
  const T* in = x + token * x_token_stride + head * x_head_stride;
  T* out = y + row * dim;
  const float c = cos[token * half + pair], s = sin[token * half + pair];
  const int first = interleaved ? 2 * pair : pair, second = interleaved ? 2 * pair + 1 : pair + half;
  if constexpr (kBackward) {
    const float a = ToFloat(in[pair]), b = ToFloat(in[pair + half]);
    out[first] = FromFloat<T>(a * c + b * s);
    out[second] = FromFloat<T>(b * c - a * s);
  } else {
    const float a = ToFloat(in[first]), b = ToFloat(in[second]);
    out[pair] = FromFloat<T>(a * c - b * s);
    out[pair + half] = FromFloat<T>(b * c + a * s);
  }
}

// A thread 2 kSize values of one head: kSize pairs.
template <typename T, bool kBackward>
__global__ __launch_bounds__(256) void RopeVectorsKernel(const __grid_constant__ RopeParams p, uint32_t total, uint32_t packs) {
  constexpr int kSize = Vec<T>::kSize;
  LetNextStart();
  WaitForPrevious();
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const uint32_t row = index / packs, pack = index - row * packs, token = row / p.heads, head = row - token * p.heads;
  const int half = p.dim / 2;
  const T* in = static_cast<const T*>(p.x) + token * p.x_token_stride + head * p.x_head_stride;
  T* out = static_cast<T*>(p.y) + static_cast<int64_t>(row) * p.dim;
  // A pair's values in x's order and in half order.
  const int joined = 2 * pack * kSize, first = pack * kSize;
  const bool pairs_in = !kBackward && p.interleaved, pairs_out = kBackward && p.interleaved;
  const Vec<T> a = LoadVec(in + (pairs_in ? joined : first)), b = LoadVec(in + (pairs_in ? joined + kSize : half + first));
  float cos[kSize], sin[kSize];
#pragma unroll
  for (int i = 0; i < kSize; i += 4) {
    *reinterpret_cast<float4*>(cos + i) = *reinterpret_cast<const float4*>(p.cos + static_cast<int64_t>(token) * half + first + i);
    *reinterpret_cast<float4*>(sin + i) = *reinterpret_cast<const float4*>(p.sin + static_cast<int64_t>(token) * half + first + i);
  }
  Vec<T> c, d;
  RotatePairs<T, kBackward>(a, b, cos, sin, pairs_in, pairs_out, c, d);
  StoreVec(out + (pairs_out ? joined : first), c);
  StoreVec(out + (pairs_out ? joined + kSize : half + first), d);
}

}  // namespace

void LaunchRope(const RopeParams& p, cudaStream_t stream) {
  const int64_t pairs = p.tokens * p.heads * (p.dim / 2);
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    const bool vectors = p.dim % (2 * kSize) == 0 && p.x_token_stride % kSize == 0 && p.x_head_stride % kSize == 0 && IsAligned16(p.x) && IsAligned16(p.y) &&
                         IsAligned16(p.cos) && IsAligned16(p.sin) && pairs / kSize < (int64_t{1} << 31);
    if (vectors) {
      const unsigned packs = p.dim / 2 / kSize, total = static_cast<unsigned>(pairs / kSize), blocks = (total + 255) / 256;
      p.backward ? LaunchKernel(RopeVectorsKernel<T, true>, blocks, 256, 0, stream, p, total, packs)
                 : LaunchKernel(RopeVectorsKernel<T, false>, blocks, 256, 0, stream, p, total, packs);
      return;
    }
    const unsigned blocks = static_cast<unsigned>((pairs + 255) / 256);
    const auto run = [&](auto kernel) {
      LaunchKernel(kernel, blocks, 256, 0, stream, static_cast<const T*>(p.x), p.cos, p.sin, static_cast<T*>(p.y), pairs, p.x_token_stride, p.x_head_stride,
                   p.heads, p.dim, p.interleaved);
    };
    p.backward ? run(RopeKernel<T, true>) : run(RopeKernel<T, false>);
  });
}

}  // namespace fathom::cuda
