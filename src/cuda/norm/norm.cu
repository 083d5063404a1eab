#include <algorithm>
#include <type_traits>

#include "cuda/async_copy.cuh"
#include "cuda/launch.cuh"
#include "cuda/norm/norm_kernel.h"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

// kSize values at a time: 16 bytes where everything is aligned, else one.
template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

// One block a row. The row is read a second time from L1 for the output.
template <typename T, int kSize, bool kResidual>
__global__ void RmsNormKernel(const T* x, const T* residual, const T* w, T* y, T* sum, int64_t x_stride, int64_t residual_stride, int d, float eps) {
  using P = Pack<T, kSize>;
  __shared__ float scratch[32];
  LetNextStart();
  WaitForPrevious();
  const int64_t row = blockIdx.x;
  const P* x_row = reinterpret_cast<const P*>(x + row * x_stride);
  const P* residual_row = reinterpret_cast<const P*>(residual + row * residual_stride);
  P* sum_row = reinterpret_cast<P*>(sum + row * d);
  P* y_row = reinterpret_cast<P*>(y + row * d);
  const P* w_row = reinterpret_cast<const P*>(w);
  const int packs = d / kSize;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < packs; i += blockDim.x) {
    P values = x_row[i];
    if constexpr (kResidual) {
      const P added = residual_row[i];
#pragma unroll
      for (int j = 0; j < kSize; ++j) values.values[j] = FromFloat<T>(ToFloat(values.values[j]) + ToFloat(added.values[j]));
      sum_row[i] = values;
    }
#pragma unroll
    for (int j = 0; j < kSize; ++j) squares = fmaf(ToFloat(values.values[j]), ToFloat(values.values[j]), squares);
  }
  const float scale = rsqrtf(BlockSum(squares, scratch) / static_cast<float>(d) + eps);
  for (int i = threadIdx.x; i < packs; i += blockDim.x) {
    // A thread reads back what it wrote itself.
    const P values = kResidual ? sum_row[i] : x_row[i];
    const P weights = w_row[i];
    P out;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      const float normal = ToFloat(FromFloat<T>(ToFloat(values.values[j]) * scale));
      out.values[j] = FromFloat<T>(normal * ToFloat(weights.values[j]));
    }
    y_row[i] = out;
  }
}

// The same with a row in registers, kPacks packs a thread: everything that it reads is asked for at once. A block has blockDim.y rows; more than one where a
// warp holds a row.
template <typename T, int kPacks, bool kResidual>
__global__ __launch_bounds__(512) void RmsNormRowsKernel(const __grid_constant__ RmsNormParams p) {
  constexpr int kSize = Vec<T>::kSize;
  __shared__ float scratch[32];
  LetNextStart();
  WaitForPrevious();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= p.rows) return;  // a whole warp
  const int packs = p.d / kSize;
  const auto* x_row = reinterpret_cast<const Vec<T>*>(static_cast<const T*>(p.x) + row * p.x_stride);
  const auto* residual_row = reinterpret_cast<const Vec<T>*>(static_cast<const T*>(p.residual) + row * p.residual_stride);
  Vec<T> values[kPacks], others[kPacks];  // others: the residual, then the weights
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    if (at < packs) values[i] = x_row[at];
    if (at < packs) others[i] = kResidual ? residual_row[at] : static_cast<const Vec<T>*>(p.w)[at];
  }
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    if (at >= packs) continue;
    if constexpr (kResidual) {
#pragma unroll
      for (int j = 0; j < kSize; ++j) values[i].values[j] = FromFloat<T>(ToFloat(values[i].values[j]) + ToFloat(others[i].values[j]));
      reinterpret_cast<Vec<T>*>(static_cast<T*>(p.sum) + row * p.d)[at] = values[i];
      others[i] = static_cast<const Vec<T>*>(p.w)[at];
    }
#pragma unroll
    for (int j = 0; j < kSize; ++j) squares = fmaf(ToFloat(values[i].values[j]), ToFloat(values[i].values[j]), squares);
    KeepPacked(values[i]);
    KeepPacked(others[i]);
  }
  squares = blockDim.x == 32 ? WarpSum(squares) : BlockSum(squares, scratch);
  const float scale = rsqrtf(squares / static_cast<float>(p.d) + p.eps);
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    if (at >= packs) continue;
    Vec<T> out;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      const float normal = ToFloat(FromFloat<T>(ToFloat(values[i].values[j]) * scale));
      out.values[j] = FromFloat<T>(normal * ToFloat(others[i].values[j]));
    }
    reinterpret_cast<Vec<T>*>(static_cast<T*>(p.y) + row * p.d)[at] = out;
  }
}

// Threads that hold a row of `packs` packs, kPacks each, and the packs that they have room for beyond it.
constexpr int RowThreads(int packs, int packs_a_thread) { return ((packs + packs_a_thread - 1) / packs_a_thread + 31) / 32 * 32; }

// Calls run(kernel of kPacks, threads) with the most packs a thread of 4, 2 and 1 that leave few threads idle; false where a row is too long.
template <typename Run>
bool RunWithRowThreads(int packs, int most_threads, Run&& run) {
  const auto fits = [&](int n) { return RowThreads(packs, n) <= most_threads && (RowThreads(packs, n) * n - packs) * 8 <= packs; };
  if (packs >= 128 && fits(4)) return run(std::integral_constant<int, 4>{}, RowThreads(packs, 4)), true;
  if (fits(2)) return run(std::integral_constant<int, 2>{}, RowThreads(packs, 2)), true;
  if (RowThreads(packs, 1) <= most_threads) return run(std::integral_constant<int, 1>{}, RowThreads(packs, 1)), true;
  if (RowThreads(packs, 4) > most_threads) return false;
  return run(std::integral_constant<int, 4>{}, RowThreads(packs, 4)), true;
}

// The same for the backward, whose sums of dw are registers too: a warp a row where it is short (no barrier), else the fewest packs a thread.
template <typename Run>
bool RunRingThreads(int packs, Run&& run) {
  if (packs <= 32) return run(std::integral_constant<int, 1>{}, 32), true;
  if (packs <= 64) return run(std::integral_constant<int, 2>{}, 32), true;
  if (packs <= 512) return run(std::integral_constant<int, 1>{}, RowThreads(packs, 1)), true;
  if (packs <= 1024) return run(std::integral_constant<int, 2>{}, RowThreads(packs, 2)), true;
  if (packs <= 2048) return run(std::integral_constant<int, 4>{}, RowThreads(packs, 4)), true;
  return false;
}

template <typename T>
void Launch(const RmsNormParams& p, cudaStream_t stream) {
  constexpr int kSize = Vec<T>::kSize;
  const auto* x = static_cast<const T*>(p.x);
  const auto* residual = static_cast<const T*>(p.residual);
  const auto* w = static_cast<const T*>(p.w);
  auto* y = static_cast<T*>(p.y);
  auto* sum = static_cast<T*>(p.sum);
  const bool vectors = p.d % kSize == 0 && p.x_stride % kSize == 0 && p.residual_stride % kSize == 0 && IsAligned16(x) && IsAligned16(residual) &&
                       IsAligned16(w) && IsAligned16(y) && IsAligned16(sum);
  const int packs = vectors ? p.d / kSize : p.d;
  const dim3 grid(static_cast<unsigned>(p.rows));
  const auto run_rows = [&](auto packs_a_thread, int threads) {
    constexpr int kPacks = decltype(packs_a_thread)::value;
    const dim3 block(threads, threads == 32 ? 8 : 1), blocks(static_cast<unsigned>((p.rows + block.y - 1) / block.y));
    residual != nullptr ? LaunchKernel(RmsNormRowsKernel<T, kPacks, true>, blocks, block, 0, stream, p)
                        : LaunchKernel(RmsNormRowsKernel<T, kPacks, false>, blocks, block, 0, stream, p);
  };
  if (vectors && p.rows >= 256 && RunWithRowThreads(packs, 512, run_rows)) return;
  const int threads = packs <= 64 ? 64 : packs <= 128 ? 128 : packs <= 256 || p.rows >= 256 ? 256 : 1024;
  const auto run = [&](auto kernel) { LaunchKernel(kernel, grid, threads, 0, stream, x, residual, w, y, sum, p.x_stride, p.residual_stride, p.d, p.eps); };
  if (vectors) {
    residual != nullptr ? run(RmsNormKernel<T, kSize, true>) : run(RmsNormKernel<T, kSize, false>);
  } else {
    residual != nullptr ? run(RmsNormKernel<T, 1, true>) : run(RmsNormKernel<T, 1, false>);
  }
}

// A block walks over rows blockIdx.x, + gridDim.x, ... and keeps its part of dw in its own row of `partial`.
template <typename T>
__global__ void RmsNormBackwardKernel(const T* dy, const T* x, const T* w, const T* added, T* dx, float* partial, int64_t rows, int64_t x_stride, int d,
                                      float eps) {
  __shared__ float scratch[32];
  float* dw = partial + static_cast<int64_t>(blockIdx.x) * d;
  for (int i = threadIdx.x; i < d; i += blockDim.x) dw[i] = 0.0f;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* x_row = x + row * x_stride;
    const T* dy_row = dy + row * d;
    float squares = 0.0f, dot = 0.0f;
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
      const float value = ToFloat(x_row[i]);
      squares = fmaf(value, value, squares);
      dot = fmaf(value, ToFloat(dy_row[i]) * ToFloat(w[i]), dot);
    }
    squares = BlockSum(squares, scratch);
    dot = BlockSum(dot, scratch);
    const float r = rsqrtf(squares / static_cast<float>(d) + eps);
    const float pull = dot * r * r / static_cast<float>(d);
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
      const float value = ToFloat(x_row[i]), gradient = ToFloat(dy_row[i]);
      const float out = r * (gradient * ToFloat(w[i]) - value * pull);
      dx[row * d + i] = FromFloat<T>(added == nullptr ? out : out + ToFloat(added[row * d + i]));
      dw[i] = fmaf(gradient, ToFloat(FromFloat<T>(value * r)), dw[i]);
    }
  }
}

constexpr int kRowsAhead = 2;  // that a block has asked for beyond the one it works on

// A barrier of a group of threads: a warp, or the threads of one threadIdx.y.
__device__ __forceinline__ void GroupBarrier() {
  if (blockDim.x == 32) __syncwarp();
  else asm volatile("bar.sync %0, %1;" ::"r"(threadIdx.y + 1), "r"(blockDim.x) : "memory");
}

// The same with the next rows on their way into shared memory (a thread's packs are its own: no barrier) and dw in registers. blockDim.y groups of blockDim.x
// threads walk over rows of their own and add up their dw in the end.
template <typename T, int kPacks, bool kAdded>
__global__ __launch_bounds__(kPacks <= 2 ? 1024 : 512) void RmsNormBackwardRowsKernel(const __grid_constant__ RmsNormBackwardParams p) {
  constexpr int kSize = Vec<T>::kSize, kTensors = kAdded ? 3 : 2, kStages = kRowsAhead + 1;
  extern __shared__ uint4 memory[];  // a ring of [kStages][kTensors][kPacks][threads] a group, then the sums of dw
  __shared__ float2 scratch[2][32];
  LetNextStart();
  WaitForPrevious();
  const int packs = p.d / kSize, lane = threadIdx.x % 32, num_warps = blockDim.x / 32, first_warp = threadIdx.y * num_warps;
  uint4* const ring = memory + threadIdx.y * (kStages * kTensors * kPacks * blockDim.x);
  const auto slot = [&](int stage, int tensor, int i) { return ring + ((stage * kTensors + tensor) * kPacks + i) * blockDim.x + threadIdx.x; };
  const auto fetch = [&](int64_t row, int stage) {
    if (row < p.rows) {
#pragma unroll
      for (int i = 0; i < kPacks; ++i) {
        const int at = threadIdx.x + i * blockDim.x;
        if (at >= packs) continue;
        CopyAhead(slot(stage, 0, i), static_cast<const T*>(p.x) + row * p.x_stride + at * kSize);
        CopyAhead(slot(stage, 1, i), static_cast<const T*>(p.dy) + row * p.d + at * kSize);
        if constexpr (kAdded) CopyAhead(slot(stage, 2, i), static_cast<const T*>(p.added) + row * p.d + at * kSize);
      }
    }
    EndCopyGroup();
  };
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y, first_row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  for (int stage = 0; stage < kRowsAhead; ++stage) fetch(first_row + stage * step, stage);
  Vec<T> weights[kPacks];
  float dw[kPacks][kSize] = {};
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    if (at < packs) weights[i] = static_cast<const Vec<T>*>(p.w)[at];
  }
  int stage = 0, parity = 0;
  for (int64_t row = first_row; row < p.rows; row += step, parity ^= 1) {
    fetch(row + kRowsAhead * step, stage == 0 ? kRowsAhead : stage - 1);
    WaitCopyGroups<kRowsAhead>();
    float squares = 0.0f, dot = 0.0f;
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      if (threadIdx.x + i * blockDim.x >= packs) continue;
      const Vec<T> x = *reinterpret_cast<const Vec<T>*>(slot(stage, 0, i)), dy = *reinterpret_cast<const Vec<T>*>(slot(stage, 1, i));
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        const float value = ToFloat(x.values[j]);
        squares = fmaf(value, value, squares);
        dot = fmaf(value, ToFloat(dy.values[j]) * ToFloat(weights[i].values[j]), dot);
      }
      if constexpr (kPacks > 1) KeepPacked(weights[i]);
    }
    squares = WarpSum(squares);
    dot = WarpSum(dot);
    if (num_warps > 1) {
      float2* const of_row = scratch[parity] + first_warp;  // two rows' worth: a warp may be one row ahead of another
      if (lane == 0) of_row[threadIdx.x / 32] = make_float2(squares, dot);
      GroupBarrier();
      const float2 of_warp = lane < num_warps ? of_row[lane] : make_float2(0.0f, 0.0f);
      squares = WarpSum(of_warp.x);
      dot = WarpSum(of_warp.y);
    }
    const float r = rsqrtf(squares / static_cast<float>(p.d) + p.eps);
    const float pull = dot * r * r / static_cast<float>(p.d);
    auto* dx_row = reinterpret_cast<Vec<T>*>(static_cast<T*>(p.dx) + row * p.d);
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = threadIdx.x + i * blockDim.x;
      if (at >= packs) continue;
      // Read once more: registers are for dw.
      const Vec<T> x = *reinterpret_cast<const Vec<T>*>(slot(stage, 0, i)), dy = *reinterpret_cast<const Vec<T>*>(slot(stage, 1, i));
      Vec<T> out, added;
      if constexpr (kAdded) added = *reinterpret_cast<const Vec<T>*>(slot(stage, 2, i));
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        const float value = ToFloat(x.values[j]), gradient = ToFloat(dy.values[j]);
        float dx = r * (gradient * ToFloat(weights[i].values[j]) - value * pull);
        if constexpr (kAdded) dx += ToFloat(added.values[j]);
        out.values[j] = FromFloat<T>(dx);
        dw[i][j] = fmaf(gradient, ToFloat(FromFloat<T>(value * r)), dw[i][j]);
      }
      dx_row[at] = out;
      if constexpr (kPacks > 1) KeepPacked(weights[i]);
    }
    stage = stage == kRowsAhead ? 0 : stage + 1;
  }
  WaitCopyGroups<0>();
  __syncthreads();
  float* const sums = reinterpret_cast<float*>(memory);  // [groups][d]: the rings are larger
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    if (at >= packs) continue;
#pragma unroll
    for (int j = 0; j < kSize; j += 4)
      *reinterpret_cast<float4*>(sums + threadIdx.y * p.d + at * kSize + j) = make_float4(dw[i][j], dw[i][j + 1], dw[i][j + 2], dw[i][j + 3]);
  }
  __syncthreads();
  for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < p.d; i += blockDim.x * blockDim.y) {
    float sum = sums[i];
    for (int group = 1; group < blockDim.y; ++group) sum += sums[group * p.d + i];
    p.partial[static_cast<int64_t>(blockIdx.x) * p.d + i] = sum;
  }
}

constexpr int kSumThreads = 32;

// A block of (32, kSumThreads): kSumThreads threads share a column's rows.
template <typename T>
__global__ __launch_bounds__(32 * kSumThreads) void SumRowsKernel(const float* partial, int rows, int d, T* out) {
  __shared__ float sums[kSumThreads][33];
  LetNextStart();
  WaitForPrevious();
  const int i = blockIdx.x * 32 + threadIdx.x;
  float sum = 0.0f;
  if (i < d) {
#pragma unroll 8
    for (int row = threadIdx.y; row < rows; row += kSumThreads) sum += partial[static_cast<int64_t>(row) * d + i];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= d) return;
  for (int y = 1; y < kSumThreads; ++y) sum += sums[y][threadIdx.x];
  out[i] = FromFloat<T>(sum);
}

}  // namespace

void LaunchRmsNorm(const RmsNormParams& params, cudaStream_t stream) {
  DispatchDtype(params.dtype, [&](auto type) { Launch<typename decltype(type)::type>(params, stream); });
}

void LaunchRmsNormBackward(const RmsNormBackwardParams& params, cudaStream_t stream) {
  DispatchDtype(params.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    RmsNormBackwardParams p = params;
    const bool vectors = p.d % kSize == 0 && p.x_stride % kSize == 0 && IsAligned16(p.x) && IsAligned16(p.dy) && IsAligned16(p.w) && IsAligned16(p.dx) &&
                         IsAligned16(p.added) && IsAligned16(p.partial);
    const auto run_rows = [&](auto packs_a_thread, int threads) {
      constexpr int kPacks = decltype(packs_a_thread)::value;
      const int group_bytes = (kRowsAhead + 1) * (p.added == nullptr ? 2 : 3) * kPacks * threads * 16;
      const int groups = std::max(1, std::min((kPacks <= 2 ? 1024 : 512) / threads, (p.shared_bytes - 1024) / group_bytes)), bytes = groups * group_bytes;
      p.partial_rows = static_cast<int>(std::min<int64_t>((p.rows + groups - 1) / groups, p.partial_rows));
      const auto run = [&](auto kernel) {
        if (bytes > 48 * 1024) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        LaunchKernel(kernel, static_cast<unsigned>(p.partial_rows), dim3(threads, groups), bytes, stream, p);
      };
      p.added == nullptr ? run(RmsNormBackwardRowsKernel<T, kPacks, false>) : run(RmsNormBackwardRowsKernel<T, kPacks, true>);
    };
    // Rows of a ring may have an eighth of idle threads' room.
    const bool fits = (kRowsAhead + 1) * (p.added == nullptr ? 2 : 3) * static_cast<int>(sizeof(T)) * (p.d + p.d / 8) <= p.shared_bytes - 1024;
    if (!vectors || !fits || !RunRingThreads(p.d / kSize, run_rows)) {
      RmsNormBackwardKernel<T><<<p.partial_rows, 256, 0, stream>>>(static_cast<const T*>(p.dy), static_cast<const T*>(p.x), static_cast<const T*>(p.w),
                                                                   static_cast<const T*>(p.added), static_cast<T*>(p.dx), p.partial, p.rows, p.x_stride,
                                                                   p.d, p.eps);
    }
    LaunchKernel(SumRowsKernel<T>, static_cast<unsigned>((p.d + 31) / 32), dim3(32, kSumThreads), 0, stream, p.partial, p.partial_rows, p.d, static_cast<T*>(p.dw));
  });
}

}  // namespace fathom::cuda
