#include <cooperative_groups.h>
#include <math_constants.h>

#include "cuda/launch.cuh"
#include "cuda/router/router_kernel.h"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kWarps = 4;  // tokens a block

// The best of the warp's (value, index) pairs; of equal values the lowest index.
__device__ __forceinline__ void WarpBest(float& value, int& index) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, value, offset);
    const int other_index = __shfl_xor_sync(0xffffffffu, index, offset);
    if (other > value || (other == value && other_index < index)) {
      value = other;
      index = other_index;
    }
  }
}

// scores[e] of a token by its warp.
__device__ void Scores(const float* logits, int experts, int score_func, float* scores) {
  const int lane = threadIdx.x % 32;
  if (score_func == 1) {
    for (int e = lane; e < experts; e += 32) scores[e] = 1.0f / (1.0f + expf(-logits[e]));
  } else {
    float top = -CUDART_INF_F, sum = 0.0f;
    for (int e = lane; e < experts; e += 32) top = fmaxf(top, logits[e]);
    top = WarpMax(top);
    for (int e = lane; e < experts; e += 32) {
      scores[e] = expf(logits[e] - top);
      sum += scores[e];
    }
    sum = WarpSum(sum);
    for (int e = lane; e < experts; e += 32) scores[e] /= sum;
  }
  __syncwarp();
}

// A float as an integer of the same order (no NaN; zeros are equal), and back. 0 is under every float.
__device__ __forceinline__ uint32_t OrderedKey(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float FromOrderedKey(uint32_t key) { return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key); }

// What a group counts for: its best value, or with `both` the sum of its best two. By the warp, the same on every lane.
__device__ __forceinline__ float GroupScore(const float* values, int size, bool both) {
  const int lane = threadIdx.x % 32;
  uint32_t first = 0, second = 0;
  for (int e = lane; e < size; e += 32) {
    const uint32_t key = OrderedKey(values[e]);
    second = max(second, min(first, key));
    first = max(first, key);
  }
  const uint32_t best = __reduce_max_sync(0xffffffffu, first);
  if (!both || size == 1) return FromOrderedKey(best);
  const unsigned holders = __ballot_sync(0xffffffffu, first == best);
  const uint32_t next = __reduce_max_sync(0xffffffffu, lane == __ffs(static_cast<int>(holders)) - 1 ? second : first);
  return FromOrderedKey(best) + FromOrderedKey(next);
}

// Leaves only the experts of the best topk_group groups in choices; the others become -infinity. group_scores has room for n_group values.
__device__ void LimitGroups(const RouteParams& p, float* choices, float* group_scores) {
  const int lane = threadIdx.x % 32, size = p.experts / p.n_group;
  for (int group = 0; group < p.n_group; ++group) {
    const float score = GroupScore(choices + group * size, size, p.group_top2);
    if (lane == group % 32) group_scores[group] = score;
  }
  __syncwarp();
  for (int group0 = 0; group0 < p.n_group; group0 += 32) {
    const int group = group0 + lane;
    bool is_kept = false;
    if (group < p.n_group) {
      const float mine = group_scores[group];
      int better = 0;
      for (int other = 0; other < p.n_group; ++other) better += group_scores[other] > mine || (group_scores[other] == mine && other < group) ? 1 : 0;
      is_kept = better < p.topk_group;
    }
    const unsigned kept = __ballot_sync(0xffffffffu, is_kept);
    const int end = min(p.n_group - group0, 32) * size;
    for (int e = lane; e < end; e += 32) {
      if ((kept >> (e / size) & 1) == 0) choices[group0 * size + e] = -CUDART_INF_F;
    }
  }
  __syncwarp();
}

constexpr int kOwnChoices = 8;  // of a lane, in registers

// chosen[k] = the expert of the k-th best choice, of equal ones the first; returns the sum of their scores in order of k. At most 32 * kOwnChoices experts.
__device__ __forceinline__ float ChooseInRegisters(const float* choices, const float* scores, int experts, int top_k, int32_t* chosen) {
  const int lane = threadIdx.x % 32;
  uint32_t keys[kOwnChoices];
#pragma unroll
  for (int i = 0; i < kOwnChoices; ++i) keys[i] = lane + i * 32 < experts ? OrderedKey(choices[lane + i * 32]) : 0;
  const uint32_t taken = OrderedKey(-CUDART_INF_F);
  float sum = 0.0f;
  for (int k = 0; k < top_k; ++k) {
    uint32_t best = keys[0];
    int index = lane;
#pragma unroll
    for (int i = 1; i < kOwnChoices; ++i) {
      if (keys[i] > best) {
        best = keys[i];
        index = lane + i * 32;
      }
    }
    const uint32_t top = __reduce_max_sync(0xffffffffu, best);
    const int winner = static_cast<int>(__reduce_min_sync(0xffffffffu, best == top ? static_cast<unsigned>(index) : 0x7fffffffu));
    sum += scores[winner];
    if (lane == 0) chosen[k] = winner;
#pragma unroll
    for (int i = 0; i < kOwnChoices; ++i) {
      if (winner == lane + i * 32) keys[i] = taken;
    }
  }
  __syncwarp();
  return sum;
}

// The same for any number of experts; it overwrites what it has chosen.
__device__ float ChooseInMemory(float* choices, const float* scores, int experts, int top_k, int32_t* chosen) {
  const int lane = threadIdx.x % 32;
  float sum = 0.0f;
  for (int k = 0; k < top_k; ++k) {
    float best = -CUDART_INF_F;
    int index = 0x7fffffff;
    for (int e = lane; e < experts; e += 32) {
      if (choices[e] > best || index == 0x7fffffff) {
        best = choices[e];
        index = e;
      }
    }
    WarpBest(best, index);
    sum += scores[index];
    if (lane == 0) chosen[k] = index;
    __syncwarp();
    if (lane == 0) choices[index] = -CUDART_INF_F;
    __syncwarp();
  }
  return sum;
}

// One token by a warp. scores has room for 2 * experts + n_group values.
__device__ void RouteToken(const RouteParams& p, int64_t token, const float* logits, float* scores) {
  const int lane = threadIdx.x % 32;
  float* choices = scores + p.experts;
  Scores(logits, p.experts, p.score_func, scores);
  float* weights = p.weights + token * p.top_k;
  int32_t* chosen = p.topk_idx + token * p.top_k;
  float sum = 0.0f;  // in order of k, on every lane
  if (p.replay) {
    for (int k = 0; k < p.top_k; ++k) sum += scores[chosen[k]];
  } else {
    // Clamped, so that minus infinity means "not allowed" alone, and NaN comes last.
    for (int e = lane; e < p.experts; e += 32) choices[e] = fmaxf(scores[e] + (p.bias == nullptr ? 0.0f : p.bias[e]), -CUDART_MAX_NORMAL_F);
    __syncwarp();
    if (p.n_group > 1) LimitGroups(p, choices, choices + p.experts);
    sum = p.experts <= 32 * kOwnChoices ? ChooseInRegisters(choices, scores, p.experts, p.top_k, chosen)
                                        : ChooseInMemory(choices, scores, p.experts, p.top_k, chosen);
  }
  const float scale = p.norm_topk_prob ? p.scaling / (sum + 1e-20f) : p.scaling;
  __syncwarp();
  for (int k = lane; k < p.top_k; k += 32) weights[k] = scores[chosen[k]] * scale;
}

__global__ void RouteKernel(RouteParams p) {
  extern __shared__ float shared[];
  LetNextStart();
  WaitForPrevious();
  const int warp = threadIdx.x / 32;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  if (token < p.tokens) RouteToken(p, token, p.logits + token * p.experts, shared + warp * (2 * p.experts + p.n_group));
}

constexpr int kRouteBlocks = 8, kRouteThreads = 256;  // of a token: one cluster

// Eight values as floats.
template <typename T>
__device__ __forceinline__ void LoadEightFloats(const T* address, float (&out)[8]) {
#pragma unroll
  for (int first = 0; first < 8; first += Vec<T>::kSize) {
    const Vec<T> vec = LoadVec(address + first);
#pragma unroll
    for (int i = 0; i < Vec<T>::kSize; ++i) out[first + i] = ToFloat(vec.values[i]);
  }
}

// A cluster makes the logits of one token, each block its part of the experts, a warp an expert at a time; its first block then routes.
template <typename T, typename W>
__global__ __launch_bounds__(kRouteThreads) void RouteTokensKernel(RouteParams p, const T* x, const W* w, int d) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ float shared[];  // in the first block: logits, then RouteToken's
  const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
  LetNextStart();
  const int rank = static_cast<int>(cluster.block_rank()), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t token = blockIdx.x / kRouteBlocks;
  if (lane == 0) {
    for (int e = rank * (kRouteThreads / 32) + warp; e < p.experts; e += kRouteBlocks * (kRouteThreads / 32))
      PrefetchToL2(w + static_cast<int64_t>(e) * d, d * static_cast<int>(sizeof(W)));
  }
  WaitForPrevious();
  float* logits = cluster.map_shared_rank(shared, 0);
  cluster.sync();  // the first block has begun: its memory may be written
  const T* x_row = x + token * d;
  for (int e = rank * (kRouteThreads / 32) + warp; e < p.experts; e += kRouteBlocks * (kRouteThreads / 32)) {
    const W* w_row = w + static_cast<int64_t>(e) * d;
    float sum = 0.0f;
#pragma unroll 8
    for (int at = lane * 8; at < d; at += 256) {
      float a[8], b[8];
      LoadEightFloats(x_row + at, a);
      LoadEightFloats(w_row + at, b);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum = fmaf(a[i], b[i], sum);
    }
    sum = WarpSum(sum);
    if (lane == 0) logits[e] = sum;
  }
  cluster.sync();
  if (rank == 0 && warp == 0) RouteToken(p, token, shared, shared + p.experts);
#endif
}

template <typename T, typename W>
void LaunchClusters(const RouteParams& p, const void* x, const void* w, int d, cudaStream_t stream) {
  const size_t shared = (3 * p.experts + p.n_group) * sizeof(float);
  LaunchClusterKernel(RouteTokensKernel<T, W>, static_cast<unsigned>(p.tokens) * kRouteBlocks, kRouteThreads, kRouteBlocks, shared, stream, p,
                      static_cast<const T*>(x), static_cast<const W*>(w), d);
}

__global__ void RouteBackwardKernel(RouteBackwardParams p) {
  extern __shared__ float shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  if (token >= p.tokens) return;
  float* scores = shared + warp * 2 * p.experts;
  float* dscores = scores + p.experts;
  Scores(p.logits + token * p.experts, p.experts, p.score_func, scores);
  for (int e = lane; e < p.experts; e += 32) dscores[e] = 0.0f;
  __syncwarp();
  const float* dweights = p.dweights + token * p.top_k;
  const int32_t* chosen = p.topk_idx + token * p.top_k;
  if (lane == 0) {
    float sum = 0.0f, dot = 0.0f;
    for (int k = 0; k < p.top_k; ++k) {
      sum += scores[chosen[k]];
      dot += dweights[k] * scores[chosen[k]];
    }
    sum += 1e-20f;
    for (int k = 0; k < p.top_k; ++k)
      dscores[chosen[k]] += p.scaling * (p.norm_topk_prob ? dweights[k] / sum - dot / (sum * sum) : dweights[k]);
  }
  __syncwarp();
  float* dlogits = p.dlogits + token * p.experts;
  if (p.score_func == 1) {
    for (int e = lane; e < p.experts; e += 32) dlogits[e] = dscores[e] * scores[e] * (1.0f - scores[e]);
  } else {
    float dot = 0.0f;
    for (int e = lane; e < p.experts; e += 32) dot += dscores[e] * scores[e];
    dot = WarpSum(dot);
    for (int e = lane; e < p.experts; e += 32) dlogits[e] = scores[e] * (dscores[e] - dot);
  }
}

}  // namespace

void LaunchRoute(const RouteParams& p, cudaStream_t stream) {
  const size_t shared = kWarps * (2 * p.experts + p.n_group) * sizeof(float);
  if (shared > 48 * 1024) cudaFuncSetAttribute(RouteKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  LaunchKernel(RouteKernel, static_cast<unsigned>((p.tokens + kWarps - 1) / kWarps), kWarps * 32, shared, stream, p);
}

void LaunchRouteTokens(const RouteParams& p, const void* x, Dtype x_dtype, const void* w, Dtype w_dtype, int d, cudaStream_t stream) {
  DispatchDtype(x_dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    w_dtype == Dtype::kF32 ? LaunchClusters<T, float>(p, x, w, d, stream) : LaunchClusters<T, __nv_bfloat16>(p, x, w, d, stream);
  });
}

void LaunchRouteBackward(const RouteBackwardParams& p, cudaStream_t stream) {
  const size_t shared = kWarps * 2 * p.experts * sizeof(float);
  if (shared > 48 * 1024) cudaFuncSetAttribute(RouteBackwardKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  RouteBackwardKernel<<<static_cast<unsigned>((p.tokens + kWarps - 1) / kWarps), kWarps * 32, shared, stream>>>(p);
}

}  // namespace fathom::cuda
