#include <math_constants.h>

#include "cuda/cross_entropy/cross_entropy_kernel.h"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

// (top, sum of exp(x - top)) of two sets of values.
__device__ __forceinline__ void Join(float& top, float& sum, float other_top, float other_sum) {
  const float new_top = fmaxf(top, other_top);
  if (new_top == -CUDART_INF_F) return;
  sum = sum * __expf(top - new_top) + other_sum * __expf(other_top - new_top);
  top = new_top;
}

// A block a row: one pass for the logsumexp, one that turns what it read (now in L2) into the gradient.
template <typename T, int kSize>
__global__ __launch_bounds__(512) void CrossEntropyKernel(CrossEntropyParams p) {
  using P = Pack<T, kSize>;
  __shared__ float tops[16], sums[16];
  const int64_t row = blockIdx.x;
  P* logits = reinterpret_cast<P*>(static_cast<T*>(p.logits) + row * p.vocab);
  const int packs = p.vocab / kSize;
  const int64_t target = p.targets[row];
  const bool is_ignored = target == p.ignored;
  // Read before anyone writes the row. A target outside the vocabulary makes the loss not a number.
  const float target_logit = is_ignored                            ? 0.0f
                             : target < 0 || target >= p.vocab ? CUDART_NAN_F
                                                                   : ToFloat(static_cast<const T*>(p.logits)[row * p.vocab + target]);
  float top = -CUDART_INF_F, sum = 0.0f;
  for (int i = threadIdx.x; i < packs; i += blockDim.x) {
    const P values = logits[i];
    float pack_top = ToFloat(values.values[0]);
#pragma unroll
    for (int j = 1; j < kSize; ++j) pack_top = fmaxf(pack_top, ToFloat(values.values[j]));
    if (pack_top > top) {
      sum *= __expf(top - pack_top);
      top = pack_top;
    }
#pragma unroll
    for (int j = 0; j < kSize; ++j) sum += __expf(ToFloat(values.values[j]) - top);
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other_top = __shfl_xor_sync(0xffffffffu, top, offset), other_sum = __shfl_xor_sync(0xffffffffu, sum, offset);
    Join(top, sum, other_top, other_sum);
  }
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, num_warps = blockDim.x / 32;
  if (lane == 0) {
    tops[warp] = top;
    sums[warp] = sum;
  }
  __syncthreads();
  top = tops[0];
  sum = sums[0];
  for (int i = 1; i < num_warps; ++i) Join(top, sum, tops[i], sums[i]);
  const float lse = top + logf(sum);
  if (threadIdx.x == 0) {
    p.lse[row] = lse;
    p.nll[row] = is_ignored ? 0.0f : lse - target_logit;
  }
  if (!p.gradient) return;
  const float scale = is_ignored ? 0.0f : p.scales[row];
  const float factor = scale * (1.0f + 2.0f * p.z_loss * lse);
  for (int i = threadIdx.x; i < packs; i += blockDim.x) {
    P values = logits[i];
    const int64_t first = static_cast<int64_t>(i) * kSize;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      float gradient = is_ignored ? 0.0f : factor * __expf(ToFloat(values.values[j]) - lse);
      if (first + j == target) gradient -= scale;
      values.values[j] = FromFloat<T>(gradient);
    }
    logits[i] = values;
  }
}

}  // namespace

void LaunchCrossEntropy(const CrossEntropyParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    const bool vectors = p.vocab % kSize == 0 && IsAligned16(p.logits);
    const int packs = vectors ? p.vocab / kSize : p.vocab, threads = packs >= 512 ? 512 : packs >= 128 ? 128 : 32;
    const auto run = [&](auto kernel) { kernel<<<static_cast<unsigned>(p.rows), threads, 0, stream>>>(p); };
    vectors ? run(CrossEntropyKernel<T, kSize>) : run(CrossEntropyKernel<T, 1>);
  });
}

}  // namespace fathom::cuda
