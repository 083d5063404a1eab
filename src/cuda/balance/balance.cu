#include <math_constants.h>

#include "cuda/balance/balance_kernel.h"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kWarps = 8;

__global__ void CountChoicesKernel(const int32_t* topk_idx, int64_t choices, int experts, int32_t* counts) {
  extern __shared__ int shared[];
  for (int e = threadIdx.x; e < experts; e += blockDim.x) shared[e] = 0;
  __syncthreads();
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < choices; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    atomicAdd(&shared[topk_idx[i]], 1);
  }
  __syncthreads();
  for (int e = threadIdx.x; e < experts; e += blockDim.x) {
    if (shared[e] != 0) atomicAdd(&counts[e], shared[e]);
  }
}

// The maximum of a row (softmax; 0 for the sigmoid) and the inverse of the sum of its scores, by a warp.
__device__ __forceinline__ float Score(float logit, float top, int score_func) {
  return score_func == 1 ? 1.0f / (1.0f + expf(-logit)) : expf(logit - top);
}
__device__ __forceinline__ void RowScale(const float* row, int experts, int score_func, float& top, float& inverse_sum) {
  top = 0.0f;
  if (score_func != 1) {
    top = -CUDART_INF_F;
    for (int e = threadIdx.x % 32; e < experts; e += 32) top = fmaxf(top, row[e]);
    top = WarpMax(top);
  }
  float sum = 0.0f;
  for (int e = threadIdx.x % 32; e < experts; e += 32) sum += Score(row[e], top, score_func);
  inverse_sum = 1.0f / WarpSum(sum);
}

// Block (part, group): its share of the group's tokens, a warp a token; the warps' sums are joined in order.
__global__ __launch_bounds__(kWarps * 32) void BalancePartsKernel(BalanceParams p) {
  extern __shared__ float sums[];  // [kWarps][experts], then [experts] counts
  int* counts = reinterpret_cast<int*>(sums + kWarps * p.experts);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < kWarps * p.experts; i += blockDim.x) sums[i] = 0.0f;
  for (int i = threadIdx.x; i < p.experts; i += blockDim.x) counts[i] = 0;
  __syncthreads();
  const int begin = p.cu[blockIdx.y], n = p.cu[blockIdx.y + 1] - begin;
  const int first = static_cast<int>(static_cast<int64_t>(n) * blockIdx.x / kBalanceParts);
  const int last = static_cast<int>(static_cast<int64_t>(n) * (blockIdx.x + 1) / kBalanceParts);
  for (int t = first + warp; t < last; t += kWarps) {
    const float* row = p.logits + static_cast<int64_t>(begin + t) * p.experts;
    float top, inverse_sum;
    RowScale(row, p.experts, p.score_func, top, inverse_sum);
    for (int e = lane; e < p.experts; e += 32) sums[warp * p.experts + e] += Score(row[e], top, p.score_func) * inverse_sum;
    for (int k = lane; k < p.top_k; k += 32) atomicAdd(&counts[p.topk_idx[static_cast<int64_t>(begin + t) * p.top_k + k]], 1);
  }
  __syncthreads();
  float* out = p.partial + (static_cast<int64_t>(blockIdx.y) * kBalanceParts + blockIdx.x) * 2 * p.experts;
  for (int e = threadIdx.x; e < p.experts; e += blockDim.x) {
    float sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) sum += sums[w * p.experts + e];
    out[e] = static_cast<float>(counts[e]);
    out[p.experts + e] = sum;
  }
}

__global__ void BalanceJoinKernel(BalanceParams p) {
  const int n = p.cu[blockIdx.x + 1] - p.cu[blockIdx.x];
  const float* parts = p.partial + static_cast<int64_t>(blockIdx.x) * kBalanceParts * 2 * p.experts;
  for (int e = threadIdx.x; e < p.experts; e += blockDim.x) {
    float count = 0.0f, sum = 0.0f;
    for (int part = 0; part < kBalanceParts; ++part) {
      count += parts[part * 2 * p.experts + e];
      sum += parts[part * 2 * p.experts + p.experts + e];
    }
    const int64_t at = static_cast<int64_t>(blockIdx.x) * p.experts + e;
    p.f[at] = n > 0 ? count * static_cast<float>(p.experts) / (static_cast<float>(p.top_k) * static_cast<float>(n)) : 0.0f;
    p.p[at] = n > 0 ? sum / static_cast<float>(n) : 0.0f;
  }
}

// A warp a token.
__global__ __launch_bounds__(kWarps * 32) void BalanceBackwardKernel(BalanceBackwardParams p) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (token >= p.tokens) return;
  int low = 0, high = p.groups;  // the last group that begins at or before the token
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    p.cu[middle] <= token ? low = middle : high = middle;
  }
  const float* row = p.logits + token * p.experts;
  const float* f = p.f + static_cast<int64_t>(low) * p.experts;
  const int lane = threadIdx.x % 32;
  float top, inverse_sum, dot = 0.0f;
  RowScale(row, p.experts, p.score_func, top, inverse_sum);
  for (int e = lane; e < p.experts; e += 32) dot += f[e] * Score(row[e], top, p.score_func) * inverse_sum;
  dot = WarpSum(dot);
  const float factor = *p.scale / static_cast<float>(p.tokens);
  for (int e = lane; e < p.experts; e += 32) {
    const float s = Score(row[e], top, p.score_func);
    p.dlogits[token * p.experts + e] = factor * (f[e] - dot) * s * inverse_sum * (p.score_func == 1 ? 1.0f - s : 1.0f);
  }
}

}  // namespace

void LaunchCountChoices(const int32_t* topk_idx, int64_t choices, int experts, int32_t* counts, cudaStream_t stream) {
  const int64_t blocks = (choices + 2047) / 2048;
  CountChoicesKernel<<<static_cast<unsigned>(blocks < 256 ? blocks : 256), 256, experts * sizeof(int), stream>>>(topk_idx, choices, experts, counts);
}

void LaunchBalanceTerms(const BalanceParams& p, cudaStream_t stream) {
  const size_t shared = (kWarps + 1) * static_cast<size_t>(p.experts) * sizeof(float);
  BalancePartsKernel<<<dim3(kBalanceParts, p.groups), kWarps * 32, shared, stream>>>(p);
  BalanceJoinKernel<<<p.groups, 128, 0, stream>>>(p);
}

void LaunchBalanceBackward(const BalanceBackwardParams& p, cudaStream_t stream) {
  BalanceBackwardKernel<<<static_cast<unsigned>((p.tokens + kWarps - 1) / kWarps), kWarps * 32, 0, stream>>>(p);
}

}  // namespace fathom::cuda
