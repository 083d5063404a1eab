#include "cuda/experts/experts_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

constexpr int kAtOnce = 4;  // pieces of a row that a thread asks for before it writes one

template <typename P>
__global__ __launch_bounds__(128) void GatherKernel(const P* x, P* y, const int32_t* order, int top_k, int packs) {
  LetNextStart();
  WaitForPrevious();
  const int64_t row = blockIdx.x;
  const int64_t token = order[row] / top_k;
  const P* const from = x + token * packs;
  P* const to = y + row * packs;
  const int step = gridDim.y * blockDim.x;
  for (int first = blockIdx.y * blockDim.x + threadIdx.x; first < packs; first += step * kAtOnce) {
    P values[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i * step < packs) values[i] = from[first + i * step];
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i * step < packs) to[first + i * step] = values[i];
    }
  }
}

// The same for many rows, which come with their places: a block a token, which reads its row once.
template <typename P>
__global__ __launch_bounds__(128) void ScatterKernel(const P* x, P* y, const int32_t* position, int top_k, int packs) {
  LetNextStart();
  WaitForPrevious();
  const int64_t token = blockIdx.x;
  const P* const from = x + token * packs;
  for (int first = threadIdx.x; first < packs; first += blockDim.x * kAtOnce) {
    P values[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i * blockDim.x < packs) values[i] = from[first + i * blockDim.x];
    }
    for (int k = 0; k < top_k; ++k) {
      P* const to = y + static_cast<int64_t>(__ldg(position + token * top_k + k)) * packs;
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i * blockDim.x < packs) to[first + i * blockDim.x] = values[i];
      }
    }
  }
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
#pragma unroll 4
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

// The same for many rows, which come with their places: a block a token, which reads its gradient once.
template <typename T, int kPacks>
__global__ __launch_bounds__(256) void CombineBackwardTokenKernel(const __grid_constant__ CombineBackwardParams p) {
  constexpr int kSize = Vec<T>::kSize;
  __shared__ float scratch[32];
  const int64_t token = blockIdx.x;
  const int packs = p.d / kSize;
  Vec<T> gradients[kPacks];
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    if (at < packs) gradients[i] = LoadVec(static_cast<const T*>(p.dy) + token * p.d + at * kSize);
  }
  for (int k = 0; k < p.top_k; ++k) {
    const int64_t choice = token * p.top_k + k, row = p.position[choice];
    const float weight = p.weights[choice];
    float dot = 0.0f;
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int at = threadIdx.x + i * blockDim.x;
      if (at >= packs) continue;
      const Vec<T> values = LoadVec(static_cast<const T*>(p.x) + row * p.d + at * kSize);
      Vec<T> out;
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
        const float gradient = ToFloat(gradients[i].values[j]);
        dot = fmaf(gradient, ToFloat(values.values[j]), dot);
        out.values[j] = FromFloat<T>(weight * gradient);
      }
      KeepPacked(gradients[i]);
      StoreVec(static_cast<T*>(p.dx) + row * p.d + at * kSize, out);
    }
    dot = BlockSum(dot, scratch);
    if (threadIdx.x == 0) p.dweights[choice] = dot;
  }
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
    if (p.position != nullptr)
      return LaunchKernel(ScatterKernel<P>, static_cast<unsigned>(p.tokens), threads, 0, stream, static_cast<const P*>(p.x), static_cast<P*>(p.y), p.position,
                          p.top_k, packs);
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
    const int packs = p.d / kSize;
    if (vectors && p.position != nullptr && packs <= 256 * 4) {
      const auto run_tokens = [&](auto kernel, int packs_a_thread) {
        kernel<<<static_cast<unsigned>(p.tokens), (packs + packs_a_thread * 32 - 1) / (packs_a_thread * 32) * 32, 0, stream>>>(p);
      };
      return packs <= 512 ? run_tokens(CombineBackwardTokenKernel<T, 2>, 2) : run_tokens(CombineBackwardTokenKernel<T, 4>, 4);
    }
    vectors ? run(CombineBackwardKernel<T, kSize>, p.d / kSize) : run(CombineBackwardKernel<T, 1>, p.d);
  });
}

}  // namespace fathom::cuda
