#include "cuda/launch.cuh"
#include "cuda/rope/rope_kernel.h"
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

}  // namespace

void LaunchRope(const RopeParams& p, cudaStream_t stream) {
  const int64_t pairs = p.tokens * p.heads * (p.dim / 2);
  const unsigned blocks = static_cast<unsigned>((pairs + 255) / 256);
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto kernel) {
      LaunchKernel(kernel, blocks, 256, 0, stream, static_cast<const T*>(p.x), p.cos, p.sin, static_cast<T*>(p.y), pairs, p.x_token_stride, p.x_head_stride,
                                         p.heads, p.dim, p.interleaved);
    };
    p.backward ? run(RopeKernel<T, true>) : run(RopeKernel<T, false>);
  });
}

}  // namespace fathom::cuda
