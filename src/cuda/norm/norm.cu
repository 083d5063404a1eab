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

// A block walks over rows blockIdx.x, + gridDim.x, ... and keeps its part of dw in its own row of `partial`.
template <typename T>
__global__ void RmsNormBackwardKernel(const T* dy, const T* x, const T* w, T* dx, float* partial, int64_t rows, int d, float eps) {
  __shared__ float scratch[32];
  float* dw = partial + static_cast<int64_t>(blockIdx.x) * d;
  for (int i = threadIdx.x; i < d; i += blockDim.x) dw[i] = 0.0f;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* x_row = x + row * d;
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
      dx[row * d + i] = FromFloat<T>(r * (gradient * ToFloat(w[i]) - value * pull));
      dw[i] = fmaf(gradient, ToFloat(FromFloat<T>(value * r)), dw[i]);
    }
  }
}

template <typename T>
__global__ void SumRowsKernel(const float* partial, int rows, int d, T* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= d) return;
  float sum = 0.0f;
  for (int row = 0; row < rows; ++row) sum += partial[static_cast<int64_t>(row) * d + i];
  out[i] = FromFloat<T>(sum);
}

}  // namespace

void LaunchRmsNorm(const RmsNormParams& params, cudaStream_t stream) {
  DispatchDtype(params.dtype, [&](auto type) { Launch<typename decltype(type)::type>(params, stream); });
}

void LaunchRmsNormBackward(const RmsNormBackwardParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    RmsNormBackwardKernel<T><<<p.partial_rows, 256, 0, stream>>>(static_cast<const T*>(p.dy), static_cast<const T*>(p.x),
                                                                 static_cast<const T*>(p.w), static_cast<T*>(p.dx), p.partial, p.rows, p.d,
                                                                 p.eps);
    SumRowsKernel<T><<<(p.d + 127) / 128, 128, 0, stream>>>(p.partial, p.partial_rows, p.d, static_cast<T*>(p.dw));
  });
}

}  // namespace fathom::cuda
