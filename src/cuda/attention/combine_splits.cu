#include <math_constants.h>

#include "cuda/attention/attention_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr float kLn2 = 0.69314718055994531f;
constexpr int kMaxSplits = 256, kEarlyParts = 10;

// A block a query and head: out = sum_s 2^(lse_s - lse) part_s.
template <typename T>
__global__ void CombineSplitsKernel(AttentionParams p) {
  __shared__ float weights[kMaxSplits];
  __shared__ float shared_total;
  __shared__ int shared_count;
  LetNextStart();
  WaitForPrevious();
  const int64_t item = blockIdx.x;
  const float* lse = p.partial_lse + item * p.num_splits;
  if (threadIdx.x < 32) {
    float top = -CUDART_INF_F, total = 0.0f;
    int count = 0;  // the parts with keys are the first ones
    for (int s = threadIdx.x; s < p.num_splits; s += 32) {
      weights[s] = lse[s];
      top = fmaxf(top, weights[s]);
    }
    top = WarpMax(top);
    for (int s = threadIdx.x; s < p.num_splits; s += 32) {
      const float weight = weights[s] == -CUDART_INF_F ? 0.0f : exp2f(weights[s] - top);
      weights[s] = weight;
      total += weight;
      if (weight > 0.0f) count = s + 1;
    }
    total = WarpSum(total);
    count = __reduce_max_sync(0xffffffffu, count);
    if (threadIdx.x == 0) {
      shared_total = total;
      shared_count = count;
      if (p.lse != nullptr) p.lse[item] = total > 0.0f ? (top + log2f(total)) * kLn2 : -CUDART_INF_F;
    }
  }
  // The first parts are fetched while the weights are made; one that has written nothing is multiplied by nothing below.
  const int64_t stride = static_cast<int64_t>(p.tokens) * p.heads * p.dv;
  const int first_d = min(static_cast<int>(threadIdx.x), p.dv - 1);
  float early[kEarlyParts];
#pragma unroll
  for (int s = 0; s < kEarlyParts; ++s) early[s] = s < p.num_splits ? p.partial_out[s * stride + item * p.dv + first_d] : 0.0f;
  __syncthreads();
  const float total = shared_total;
  const int count = shared_count;
  for (int d = threadIdx.x; d < p.dv; d += blockDim.x) {
    const float* part = p.partial_out + item * p.dv + d;
    float sum = 0.0f;
    const bool is_first = d == static_cast<int>(threadIdx.x);
    if (is_first) {
#pragma unroll
      for (int s = 0; s < kEarlyParts; ++s) sum += s < count && weights[s] > 0.0f ? weights[s] * early[s] : 0.0f;
    }
#pragma unroll 8
    for (int s = is_first ? kEarlyParts : 0; s < count; ++s) {
      const float value = part[s * stride];
      sum += weights[s] > 0.0f ? weights[s] * value : 0.0f;  // a part without keys has written nothing
    }
    static_cast<T*>(p.out)[item * p.dv + d] = FromFloat<T>(total > 0.0f ? sum / total : 0.0f);
  }
}

}  // namespace

void LaunchCombineSplits(const AttentionParams& p, cudaStream_t stream) {
  const unsigned items = static_cast<unsigned>(p.tokens) * p.heads;
  const int threads = p.dv >= 512 ? 512 : p.dv >= 128 ? 128 : 64;
  DispatchDtype(p.dtype, [&](auto type) { LaunchKernel(CombineSplitsKernel<typename decltype(type)::type>, items, threads, 0, stream, p); });
}

int ChooseSplits(int blocks, int num_slots, int max_splits) {
  int best = 1;
  double best_cost = 1e30;
  const int most = max_splits < kMaxSplits ? max_splits : kMaxSplits;
  for (int splits = 1; splits <= most; ++splits) {
    const int waves = (blocks * splits + num_slots - 1) / num_slots;
    // A part costs its own start and its share of the joining.
    const double cost = static_cast<double>(waves) / splits + 0.004 * splits / (1.0 + 0.01 * max_splits);
    if (cost < best_cost) {
      best_cost = cost;
      best = splits;
    }
    if (blocks * splits >= 4 * num_slots) break;
  }
  return best;
}

}  // namespace fathom::cuda
