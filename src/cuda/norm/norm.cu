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
  const int threads = packs <= 64 ? 64 : packs <= 128 ? 128 : packs <= 256 || p.rows >= 256 ? 256 : 1024;
  const dim3 grid(static_cast<unsigned>(p.rows));
  const auto run = [&](auto kernel) { LaunchKernel(kernel, grid, threads, 0, stream, x, residual, w, y, sum, p.x_stride, p.residual_stride, p.d, p.eps); };
  if (vectors) {
    residual != nullptr ? run(RmsNormKernel<T, kSize, true>) : run(RmsNormKernel<T, kSize, false>);
  } else {
    residual != nullptr ? run(RmsNormKernel<T, 1, true>) : run(RmsNormKernel<T, 1, false>);
  }
}

constexpr int kNormBackwardThreads = 128;

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

// The same with a row in registers: rows of up to kPacks * kSize * blockDim.x values are read once, and dw stays in registers.
template <typename T, int kSize, int kPacks>
__global__ __launch_bounds__(kNormBackwardThreads) void RmsNormBackwardRowsKernel(RmsNormBackwardParams p) {
  using P = Pack<T, kSize>;
  __shared__ float scratch[2][32];
  const int packs = p.d / kSize, warp = threadIdx.x / 32, lane = threadIdx.x % 32, num_warps = kNormBackwardThreads / 32;
  P weights[kPacks];
  float dw[kPacks][kSize] = {};
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int at = threadIdx.x + i * kNormBackwardThreads;
    if (at < packs) weights[i] = static_cast<const P*>(p.w)[at];
  }
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const P* x_row = reinterpret_cast<const P*>(static_cast<const T*>(p.x) + row * p.x_stride);
    const P* dy_row = reinterpret_cast<const P*>(static_cast<const T*>(p.dy) + row * p.d);
    const P* added_row = p.added == nullptr ? nullptr : reinterpret_cast<const P*>(static_cast<const T*>(p.added) + row * p.d);
    P x[kPacks], dy[kPacks];
    float squares = 0.0f, dot = 0.0f;
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = threadIdx.x + i * kNormBackwardThreads;
      if (at >= packs) continue;
      x[i] = x_row[at];
      dy[i] = dy_row[at];
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        const float value = ToFloat(x[i].values[j]);
        squares = fmaf(value, value, squares);
        dot = fmaf(value, ToFloat(dy[i].values[j]) * ToFloat(weights[i].values[j]), dot);
      }
    }
    squares = WarpSum(squares);
    dot = WarpSum(dot);
    if (lane == 0) {
      scratch[0][warp] = squares;
      scratch[1][warp] = dot;
    }
    __syncthreads();
    squares = WarpSum(lane < num_warps ? scratch[0][lane] : 0.0f);
    dot = WarpSum(lane < num_warps ? scratch[1][lane] : 0.0f);
    __syncthreads();
    const float r = rsqrtf(squares / static_cast<float>(p.d) + p.eps);
    const float pull = dot * r * r / static_cast<float>(p.d);
    P* dx_row = reinterpret_cast<P*>(static_cast<T*>(p.dx) + row * p.d);
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = threadIdx.x + i * kNormBackwardThreads;
      if (at >= packs) continue;
      P out, added;
      if (added_row != nullptr) added = added_row[at];
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        const float value = ToFloat(x[i].values[j]), gradient = ToFloat(dy[i].values[j]);
        float dx = r * (gradient * ToFloat(weights[i].values[j]) - value * pull);
        if (added_row != nullptr) dx += ToFloat(added.values[j]);
        out.values[j] = FromFloat<T>(dx);
        dw[i][j] = fmaf(gradient, ToFloat(FromFloat<T>(value * r)), dw[i][j]);
      }
      dx_row[at] = out;
    }
  }
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int at = threadIdx.x + i * kNormBackwardThreads;
    if (at >= packs) continue;
#pragma unroll
    for (int j = 0; j < kSize; ++j) p.partial[static_cast<int64_t>(blockIdx.x) * p.d + at * kSize + j] = dw[i][j];
  }
}

// A block of (32, 8): 8 threads share a column's rows.
template <typename T>
__global__ void SumRowsKernel(const float* partial, int rows, int d, T* out) {
  __shared__ float sums[8][33];
  const int i = blockIdx.x * 32 + threadIdx.x;
  float sum = 0.0f;
  if (i < d) {
    for (int row = threadIdx.y; row < rows; row += 8) sum += partial[static_cast<int64_t>(row) * d + i];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= d) return;
  for (int y = 1; y < 8; ++y) sum += sums[y][threadIdx.x];
  out[i] = FromFloat<T>(sum);
}

}  // namespace

void LaunchRmsNorm(const RmsNormParams& params, cudaStream_t stream) {
  DispatchDtype(params.dtype, [&](auto type) { Launch<typename decltype(type)::type>(params, stream); });
}

void LaunchRmsNormBackward(const RmsNormBackwardParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    const int packs = p.d % kSize == 0 && p.x_stride % kSize == 0 && IsAligned16(p.x) && IsAligned16(p.dy) && IsAligned16(p.w) && IsAligned16(p.dx) &&
                              IsAligned16(p.added)
                          ? p.d / kSize
                          : 0;
    const auto run = [&](auto kernel) { kernel<<<p.partial_rows, kNormBackwardThreads, 0, stream>>>(p); };
    if (packs > 0 && packs <= kNormBackwardThreads) run(RmsNormBackwardRowsKernel<T, kSize, 1>);
    else if (packs > 0 && packs <= 4 * kNormBackwardThreads) run(RmsNormBackwardRowsKernel<T, kSize, 4>);
    else if (packs > 0 && packs <= 8 * kNormBackwardThreads) run(RmsNormBackwardRowsKernel<T, kSize, 8>);
    else
      RmsNormBackwardKernel<T><<<p.partial_rows, 256, 0, stream>>>(static_cast<const T*>(p.dy), static_cast<const T*>(p.x), static_cast<const T*>(p.w),
                                                                   static_cast<const T*>(p.added), static_cast<T*>(p.dx), p.partial, p.rows, p.x_stride,
                                                                   p.d, p.eps);
    SumRowsKernel<T><<<(p.d + 31) / 32, dim3(32, 8), 0, stream>>>(p.partial, p.partial_rows, p.d, static_cast<T*>(p.dw));
  });
}

}  // namespace fathom::cuda
