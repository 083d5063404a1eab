#include "cuda/experts/experts_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

template <typename P>
__global__ void GatherKernel(const P* x, P* y, const int32_t* order, int top_k, int packs) {
  LetNextStart();
  WaitForPrevious();
  const int64_t row = blockIdx.x;
  const int64_t token = order[row] / top_k;
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < packs; i += gridDim.y * blockDim.x) y[row * packs + i] = x[token * packs + i];
}

// A block a token and part of its columns. Few choices are searched for in `order`; many come with `position`.
template <typename T, int kSize>
__global__ void CombineKernel(const T* x, T* y, const int32_t* order, const int32_t* position, const float* weights, int choices, int top_k, int packs) {
  using P = Pack<T, kSize>;
  extern __shared__ int places[];
  LetNextStart();
  WaitForPrevious();
  const int64_t token = blockIdx.x;
  if (position != nullptr) {
    for (int k = threadIdx.x; k < top_k; k += blockDim.x) places[k] = position[token * top_k + k];
  } else {
    for (int i = threadIdx.x; i < choices; i += blockDim.x) {
      const int choice = order[i];
      if (choice / top_k == token) places[choice % top_k] = i;
    }
  }
  __syncthreads();
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < packs; i += gridDim.y * blockDim.x) {
    float sums[kSize] = {};
    for (int k = 0; k < top_k; ++k) {
      const float weight = weights == nullptr ? 1.0f : weights[token * top_k + k];
      const P values = reinterpret_cast<const P*>(x)[static_cast<int64_t>(places[k]) * packs + i];
#pragma unroll
      for (int j = 0; j < kSize; ++j) sums[j] = fmaf(weight, ToFloat(values.values[j]), sums[j]);
    }
    P out;
#pragma unroll
    for (int j = 0; j < kSize; ++j) out.values[j] = FromFloat<T>(sums[j]);
    reinterpret_cast<P*>(y)[token * packs + i] = out;
  }
}

// A warp a sorted row.
template <typename T, int kSize>
__global__ __launch_bounds__(128) void CombineBackwardKernel(const T* dy, const T* x, const int32_t* order, const float* weights, T* dx, float* dweights,
                                                             int64_t rows, int top_k, int packs) {
  using P = Pack<T, kSize>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * 4 + threadIdx.x / 32;
  if (row >= rows) return;
  const int choice = order[row], lane = threadIdx.x % 32;
  const int64_t token = choice / top_k;
  const float weight = weights[choice];
  const P* dy_row = reinterpret_cast<const P*>(dy) + token * packs;
  const P* x_row = reinterpret_cast<const P*>(x) + row * packs;
  P* dx_row = reinterpret_cast<P*>(dx) + row * packs;
  float dot = 0.0f;
#pragma unroll 4
  for (int i = lane; i < packs; i += 32) {
    const P gradients = dy_row[i], values = x_row[i];
    P out;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      const float gradient = ToFloat(gradients.values[j]);
      dot = fmaf(gradient, ToFloat(values.values[j]), dot);
      out.values[j] = FromFloat<T>(weight * gradient);
    }
    dx_row[i] = out;
  }
  dot = WarpSum(dot);
  if (lane == 0) dweights[choice] = dot;
}

int ColumnBlocks(int64_t rows, int packs, int threads) {
  const int most = (packs + threads - 1) / threads;
  return rows >= 256 ? 1 : most;
}

}  // namespace

void LaunchGatherTokens(const MoveRowsParams& p, cudaStream_t stream) {
  const int64_t bytes = p.dtype == Dtype::kF32 ? 4LL * p.d : 2LL * p.d;
  const auto run = [&](auto type) {
    using P = typename decltype(type)::type;
    const int packs = static_cast<int>(bytes / sizeof(P)), threads = 128;
    const dim3 grid(static_cast<unsigned>(p.tokens * p.top_k), ColumnBlocks(p.tokens * p.top_k, packs, threads));
    LaunchKernel(GatherKernel<P>, grid, threads, 0, stream, static_cast<const P*>(p.x), static_cast<P*>(p.y), p.order, p.top_k, packs);
  };
  if (bytes % 16 == 0 && IsAligned16(p.x) && IsAligned16(p.y)) return run(Type<uint4>{});
  bytes % 4 == 0 && p.dtype == Dtype::kF32 ? run(Type<uint32_t>{}) : run(Type<uint16_t>{});
}

void LaunchCombineTokens(const MoveRowsParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto kernel, int packs) {
      const int threads = packs >= 128 ? 128 : 64;
      const dim3 grid(static_cast<unsigned>(p.tokens), ColumnBlocks(p.tokens, packs, threads));
      const size_t places = (p.top_k + 3) / 4 * 4 * sizeof(int);  // the compiler reads them four at a time
      LaunchKernel(kernel, grid, threads, places, stream, static_cast<const T*>(p.x), static_cast<T*>(p.y), p.order, p.position, p.weights,
                                                               static_cast<int>(p.tokens * p.top_k), p.top_k, packs);
    };
    constexpr int kSize = Vec<T>::kSize;
    p.d % kSize == 0 && IsAligned16(p.x) && IsAligned16(p.y) ? run(CombineKernel<T, kSize>, p.d / kSize) : run(CombineKernel<T, 1>, p.d);
  });
}

void LaunchCombineBackward(const CombineBackwardParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    const int64_t rows = p.tokens * p.top_k;
    const auto run = [&](auto kernel, int packs) {
      kernel<<<static_cast<unsigned>((rows + 3) / 4), 128, 0, stream>>>(static_cast<const T*>(p.dy), static_cast<const T*>(p.x), p.order, p.weights,
                                                                       static_cast<T*>(p.dx), p.dweights, rows, p.top_k, packs);
    };
    const bool vectors = p.d % kSize == 0 && IsAligned16(p.dy) && IsAligned16(p.x) && IsAligned16(p.dx);
    vectors ? run(CombineBackwardKernel<T, kSize>, p.d / kSize) : run(CombineBackwardKernel<T, 1>, p.d);
  });
}

}  // namespace fathom::cuda
