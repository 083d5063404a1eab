#include <math_constants.h>

#include <algorithm>
#include <type_traits>

#include "cuda/async_copy.cuh"
#include "cuda/cross_entropy/cross_entropy_kernel.h"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

constexpr float kLog2E = 1.4426950408889634f;

// Results under 2^-126 are zero.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Largest of a block of at most 1024 threads, the same on every thread; `scratch` as BlockSum's.
__device__ __forceinline__ float BlockMax(float value, float* scratch) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, num_warps = (blockDim.x + 31) / 32;
  value = WarpMax(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = WarpMax(lane < num_warps ? scratch[lane] : -CUDART_INF_F);
  __syncthreads();
  return value;
}

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

__device__ __forceinline__ __nv_bfloat162 Larger(__nv_bfloat162 a, __nv_bfloat162 b) { return __hmax2(a, b); }
__device__ __forceinline__ __half2 Larger(__half2 a, __half2 b) { return __hmax2(a, b); }

// The larger of `top` and a pack's values.
__device__ __forceinline__ float LargerOfPack(float top, const Vec<float>& pack) {
  return fmaxf(fmaxf(top, fmaxf(pack.values[0], pack.values[1])), fmaxf(pack.values[2], pack.values[3]));
}
template <typename T>
__device__ __forceinline__ float LargerOfPack(float top, const Vec<T>& pack) {
  using Pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
  const Pair* pairs = reinterpret_cast<const Pair*>(&pack);
  const Pair largest = Larger(Larger(pairs[0], pairs[1]), Larger(pairs[2], pairs[3]));
  return fmaxf(top, fmaxf(ToFloat(largest.x), ToFloat(largest.y)));
}

// exp(x - base), base_bits = base log2 e. Values of 16 bits are worth one rounding less.
template <typename T>
__device__ __forceinline__ float ExpAbove(T x, float base, float base_bits) {
  if constexpr (sizeof(T) == 4) return Exp2((x - base) * kLog2E);
  else return Exp2(fmaf(ToFloat(x), kLog2E, -base_bits));
}

// The same with the row kept by its block between the passes, so that device memory is read once and written once: a thread has kHeld packs of it in registers
// and `in_shared` of its own in shared memory. A block takes rows blockIdx.x, + gridDim.x, ...; where a row's gradient has been written the next row's logits
// are on their way to the same place. A pack is 16 bytes.
template <typename T, int kHeld, int kThreads, int kBlocks>
__global__ __launch_bounds__(kThreads, kBlocks) void CrossEntropyHeldKernel(const __grid_constant__ CrossEntropyParams p, int in_shared) {
  constexpr int kSize = Vec<T>::kSize;
  extern __shared__ uint4 slots[];  // [in_shared][kThreads]
  __shared__ float scratch[32];
  const int packs = p.vocab / kSize;
  const auto pack_of = [&](int i) { return static_cast<int>(threadIdx.x) + i * kThreads; };
  const auto slot = [&](int i) { return slots + i * kThreads + threadIdx.x; };
  const auto kept = [&](int i) { return *reinterpret_cast<const Vec<T>*>(slot(i)); };
  const auto row_of = [&](int64_t row) { return static_cast<T*>(p.logits) + row * p.vocab; };
  // The logit of the target, to be read before the row is written; out of the vocabulary the loss is not a number.
  const auto logit_of = [&](int64_t row, int64_t target) {
    return target >= 0 && target < p.vocab ? ToFloat(row_of(row)[target]) : target == p.ignored ? 0.0f : CUDART_NAN_F;
  };
  int64_t row = blockIdx.x;
  if (row >= p.rows) return;
  Vec<T> held[kHeld];
  for (int i = 0; i < in_shared; ++i) {
    if (pack_of(kHeld + i) < packs) CopyAhead(slot(i), row_of(row) + static_cast<int64_t>(pack_of(kHeld + i)) * kSize);
  }
  EndCopyGroup();
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (pack_of(i) < packs) held[i] = LoadVec(row_of(row) + static_cast<int64_t>(pack_of(i)) * kSize);
  }
  int64_t target = p.targets[row];
  float row_scale = p.scales[row], target_logit = logit_of(row, target);
  while (true) {
    float top = -CUDART_INF_F;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (pack_of(i) < packs) top = LargerOfPack(top, held[i]);
      KeepPacked(held[i]);
    }
    WaitCopyGroups<0>();
#pragma unroll 2
    for (int i = 0; i < in_shared; ++i) {
      if (pack_of(kHeld + i) < packs) top = LargerOfPack(top, kept(i));
    }
    top = BlockMax(top, scratch);
    const float base = top == -CUDART_INF_F ? 0.0f : top, base_bits = base * kLog2E;  // a row of minus infinities alone sums to zero
    float sum = 0.0f;
    const auto add = [&](const Vec<T>& pack) {
#pragma unroll
      for (int j = 0; j < kSize; ++j) sum += ExpAbove(pack.values[j], base, base_bits);
    };
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (pack_of(i) < packs) add(held[i]);
      KeepPacked(held[i]);
    }
#pragma unroll 2
    for (int i = 0; i < in_shared; ++i) {
      if (pack_of(kHeld + i) < packs) add(kept(i));
    }
    const float lse = top + logf(BlockSum(sum, scratch));
    const bool is_ignored = target == p.ignored;
    if (threadIdx.x == 0) {
      p.lse[row] = lse;
      p.nll[row] = is_ignored ? 0.0f : lse - target_logit;
    }
    const int64_t next = row + gridDim.x;
    const bool has_next = next < p.rows;
    const float scale = is_ignored ? 0.0f : row_scale, factor = scale * (1.0f + 2.0f * p.z_loss * lse), lse_bits = lse * kLog2E;
    const int target_pack = is_ignored || target < 0 || target >= p.vocab ? -1 : static_cast<int>(target) / kSize;
    const int target_value = static_cast<int>(target % kSize);
    if (has_next) {
      target = p.targets[next];
      row_scale = p.scales[next];
    }
    const auto write = [&](const Vec<T>& pack, int at) {
      float gradients[kSize];
#pragma unroll
      for (int j = 0; j < kSize; ++j) gradients[j] = is_ignored ? 0.0f : factor * ExpAbove(pack.values[j], lse, lse_bits);
      if (at == target_pack) {
#pragma unroll
        for (int j = 0; j < kSize; ++j) gradients[j] -= j == target_value ? scale : 0.0f;
      }
      Vec<T> out;
#pragma unroll
      for (int j = 0; j < kSize; ++j) out.values[j] = FromFloat<T>(gradients[j]);
      StoreVec(row_of(row) + static_cast<int64_t>(at) * kSize, out);
    };
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (pack_of(i) >= packs) continue;
      if (p.gradient) write(held[i], pack_of(i));
      if (has_next) held[i] = LoadVec(row_of(next) + static_cast<int64_t>(pack_of(i)) * kSize);
    }
#pragma unroll 2
    for (int i = 0; i < in_shared; ++i) {
      const int at = pack_of(kHeld + i);
      if (at >= packs) continue;
      if (p.gradient) write(kept(i), at);
      if (has_next) CopyAhead(slot(i), row_of(next) + static_cast<int64_t>(at) * kSize);
    }
    EndCopyGroup();
    if (!has_next) return;
    target_logit = logit_of(next, target);
    row = next;
  }
}

constexpr int kHeldPacks = 4;  // of a row, in a thread's registers

// True where a kernel that keeps its row took it: rows of at most shared_bytes and what registers hold.
template <typename T>
bool LaunchHeld(const CrossEntropyParams& p, int packs, cudaStream_t stream) {
  const auto run = [&](auto kernel, int threads, int blocks) {
    const int in_shared = std::max(0, (packs + threads - 1) / threads - kHeldPacks), bytes = in_shared * threads * 16;
    if (bytes > p.shared_bytes - 1024) return false;
    if (bytes > 48 * 1024) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    const int64_t at_once = static_cast<int64_t>(blocks) * p.num_processors;
    kernel<<<static_cast<unsigned>(std::min(p.rows, at_once)), threads, bytes, stream>>>(p, in_shared);
    return true;
  };
  if (packs <= 1024) return run(CrossEntropyHeldKernel<T, kHeldPacks, 256, 4>, 256, 4);
  if (packs <= 6144) return run(CrossEntropyHeldKernel<T, kHeldPacks, 512, 2>, 512, 2);
  return run(CrossEntropyHeldKernel<T, kHeldPacks, 1024, 1>, 1024, 1);
}

}  // namespace

void LaunchCrossEntropy(const CrossEntropyParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    const bool vectors = p.vocab % kSize == 0 && IsAligned16(p.logits);
    const int packs = vectors ? p.vocab / kSize : p.vocab, threads = packs >= 512 ? 512 : packs >= 128 ? 128 : 32;
    if (vectors && packs >= 128 && LaunchHeld<T>(p, packs, stream)) return;
    const auto run = [&](auto kernel) { kernel<<<static_cast<unsigned>(p.rows), threads, 0, stream>>>(p); };
    vectors ? run(CrossEntropyKernel<T, kSize>) : run(CrossEntropyKernel<T, 1>);
  });
}

}  // namespace fathom::cuda
