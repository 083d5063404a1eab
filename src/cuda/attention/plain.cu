#include <math_constants.h>

#include "cuda/attention/attention_kernel.h"
#include "cuda/attention/sequence.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kWarps = 4;

// The dot product of two rows, on every lane.
template <typename A, typename B>
__device__ __forceinline__ float Dot(const A* a, const B* b, int d) {
  float sum = 0.0f;
  for (int i = threadIdx.x % 32; i < d; i += 32) sum = fmaf(ToFloat(a[i]), ToFloat(b[i]), sum);
  return WarpSum(sum);
}

// Calls visit(j) for each key that query i (packed row `row`) sees, the same on every lane.
template <typename Visit>
__device__ __forceinline__ void ForEachKey(const AttentionParams& p, const Sequence& sequence, int row, Visit&& visit) {
  int begin, end;
  VisibleRange(p, sequence, row - sequence.query_begin, begin, end);
  if (p.topk_idx == nullptr) {
    for (int j = begin; j < end; ++j) visit(j);
  } else {
    for (int s = 0; s < p.topk; ++s) {
      const int j = p.topk_idx[static_cast<int64_t>(row) * p.topk + s];
      if (j >= begin && j < end) visit(j);
    }
  }
}

// How often query `row` lists key j.
__device__ __forceinline__ int TimesListed(const AttentionParams& p, int row, int j) {
  if (p.topk_idx == nullptr) return 1;
  int times = 0;
  for (int base = 0; base < p.topk; base += 32) {
    const int s = base + threadIdx.x % 32;
    times += __popc(__ballot_sync(0xffffffffu, s < p.topk && p.topk_idx[static_cast<int64_t>(row) * p.topk + s] == j));
  }
  return times;
}

// kValues * 32 >= dv.
template <typename T, int kValues>
__global__ __launch_bounds__(kWarps * 32) void PlainAttentionKernel(AttentionParams p) {
  const int lane = threadIdx.x % 32;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (item >= static_cast<int64_t>(p.tokens) * p.heads) return;
  const int row = static_cast<int>(item / p.heads), head = static_cast<int>(item % p.heads);
  T* out = static_cast<T*>(p.out) + item * p.dv;
  const int b = FindSequence(p.cu_q, p.batch, row);
  float sums[kValues] = {};
  float top = -CUDART_INF_F, total = 0.0f;
  if (b >= 0) {
    const Sequence sequence = SequenceAt(p, b);
    const int kv_head = head / (p.heads / p.kv_heads);
    const T* q = static_cast<const T*>(p.q) + row * p.q_token_stride + head * p.q_head_stride;
    ForEachKey(p, sequence, row, [&](int j) {
      const float score = Dot(q, KeyRow<T>(p, p.k, sequence, j, kv_head), p.dk) * p.scale;
      const float new_top = fmaxf(top, score);
      const float shrink = expf(top - new_top), weight = expf(score - new_top);
      const T* value = KeyRow<T>(p, p.v, sequence, j, kv_head);
      total = total * shrink + weight;
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        const int d = i * 32 + lane;
        if (d < p.dv) sums[i] = fmaf(weight, ToFloat(value[d]), sums[i] * shrink);
      }
      top = new_top;
    });
  }
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const int d = i * 32 + lane;
    if (d < p.dv) out[d] = FromFloat<T>(total > 0.0f ? sums[i] / total : 0.0f);
  }
  if (p.lse != nullptr && lane == 0) p.lse[item] = total > 0.0f ? top + logf(total) : -CUDART_INF_F;
}

// delta = dout . out; dq = sum_j scale * P (dout . v_j - delta) k_j.
template <typename T, int kValues>
__global__ __launch_bounds__(kWarps * 32) void QueryGradientKernel(AttentionBackwardParams backward) {
  const AttentionParams& p = backward.forward;
  const int lane = threadIdx.x % 32;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (item >= static_cast<int64_t>(p.tokens) * p.heads) return;
  const int row = static_cast<int>(item / p.heads), head = static_cast<int>(item % p.heads);
  const T* dout = static_cast<const T*>(backward.dout) + item * p.dv;
  const float delta = Dot(dout, static_cast<const T*>(p.out) + item * p.dv, p.dv);
  if (lane == 0) backward.delta[item] = delta;
  float sums[kValues] = {};
  const int b = FindSequence(p.cu_q, p.batch, row);
  if (b >= 0) {
    const Sequence sequence = SequenceAt(p, b);
    const int kv_head = head / (p.heads / p.kv_heads);
    const T* q = static_cast<const T*>(p.q) + row * p.q_token_stride + head * p.q_head_stride;
    const float lse = p.lse[item];
    ForEachKey(p, sequence, row, [&](int j) {
      const T* key = KeyRow<T>(p, p.k, sequence, j, kv_head);
      const float weight = expf(Dot(q, key, p.dk) * p.scale - lse);
      const float ds = p.scale * weight * (Dot(dout, KeyRow<T>(p, p.v, sequence, j, kv_head), p.dv) - delta);
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        const int d = i * 32 + lane;
        if (d < p.dk) sums[i] = fmaf(ds, ToFloat(key[d]), sums[i]);
      }
    });
  }
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const int d = i * 32 + lane;
    if (d < p.dk) static_cast<T*>(backward.dq)[item * p.dk + d] = FromFloat<T>(sums[i]);
  }
}

// dv_j = sum P dout, dk_j = sum scale * P (dout . v_j - delta) q over the queries and heads that see key j: a warp a key and key head.
template <typename T, int kValues>
__global__ __launch_bounds__(kWarps * 32) void KeyGradientKernel(AttentionBackwardParams backward) {
  const AttentionParams& p = backward.forward;
  const int lane = threadIdx.x % 32;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (item >= static_cast<int64_t>(backward.keys) * p.kv_heads) return;
  const int row = static_cast<int>(item / p.kv_heads), kv_head = static_cast<int>(item % p.kv_heads);
  float key_sums[kValues] = {}, value_sums[kValues] = {};
  const int b = FindSequence(p.cu_k, p.batch, row);
  if (b >= 0) {
    const Sequence sequence = SequenceAt(p, b);
    const int j = row - sequence.key_begin, group = p.heads / p.kv_heads;
    const T* key = KeyRow<T>(p, p.k, sequence, j, kv_head);
    const T* value = KeyRow<T>(p, p.v, sequence, j, kv_head);
    const int first = max(0, j - (sequence.num_keys - sequence.num_queries));
    for (int i = first; i < sequence.num_queries; ++i) {
      int begin, end;
      VisibleRange(p, sequence, i, begin, end);
      if (j < begin) break;
      const int query = sequence.query_begin + i;
      const int times = TimesListed(p, query, j);
      if (times == 0) continue;
      for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        const int64_t place = static_cast<int64_t>(query) * p.heads + head;
        const T* q = static_cast<const T*>(p.q) + query * p.q_token_stride + head * p.q_head_stride;
        const T* dout = static_cast<const T*>(backward.dout) + place * p.dv;
        const float weight = static_cast<float>(times) * expf(Dot(q, key, p.dk) * p.scale - p.lse[place]);
        const float ds = p.scale * weight * (Dot(dout, value, p.dv) - backward.delta[place]);
#pragma unroll
        for (int n = 0; n < kValues; ++n) {
          const int d = n * 32 + lane;
          if (d < p.dk) key_sums[n] = fmaf(ds, ToFloat(q[d]), key_sums[n]);
          if (d < p.dv) value_sums[n] = fmaf(weight, ToFloat(dout[d]), value_sums[n]);
        }
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kValues; ++n) {
    const int d = n * 32 + lane;
    if (d < p.dk) static_cast<T*>(backward.dk)[item * p.dk + d] = FromFloat<T>(key_sums[n]);
    if (d < p.dv) static_cast<T*>(backward.dv)[item * p.dv + d] = FromFloat<T>(value_sums[n]);
  }
}

unsigned Blocks(int64_t items) { return static_cast<unsigned>((items + kWarps - 1) / kWarps); }

}  // namespace

void LaunchPlainAttention(const AttentionParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto kernel) { kernel<<<Blocks(static_cast<int64_t>(p.tokens) * p.heads), kWarps * 32, 0, stream>>>(p); };
    p.dv <= 128 ? run(PlainAttentionKernel<T, 4>) : p.dv <= 512 ? run(PlainAttentionKernel<T, 16>) : run(PlainAttentionKernel<T, 32>);
  });
}

void LaunchPlainAttentionBackward(const AttentionBackwardParams& backward, cudaStream_t stream) {
  const AttentionParams& p = backward.forward;
  const int widest = p.dk > p.dv ? p.dk : p.dv;
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto query_kernel, auto key_kernel) {
      if (p.tokens > 0) query_kernel<<<Blocks(static_cast<int64_t>(p.tokens) * p.heads), kWarps * 32, 0, stream>>>(backward);
      if (backward.keys > 0) key_kernel<<<Blocks(static_cast<int64_t>(backward.keys) * p.kv_heads), kWarps * 32, 0, stream>>>(backward);
    };
    widest <= 128   ? run(QueryGradientKernel<T, 4>, KeyGradientKernel<T, 4>)
    : widest <= 256 ? run(QueryGradientKernel<T, 8>, KeyGradientKernel<T, 8>)
                    : run(QueryGradientKernel<T, 32>, KeyGradientKernel<T, 32>);
  });
}

}  // namespace fathom::cuda
