#include <algorithm>

#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"
#include "cuda/swiglu/swiglu_kernel.h"

namespace fathom::cuda {
namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

// 1 / (1 + exp(-x)): where the result is rounded to 16 bits, with the device's fast exponential and reciprocal.
template <typename T>
__device__ __forceinline__ float Sigmoid(float x) {
  if constexpr (sizeof(T) == 4) return 1.0f / (1.0f + expf(-x));
  else return __fdividef(1.0f, 1.0f + __expf(-x));
}

// kSize columns a thread.
template <typename T, int kSize>
__global__ __launch_bounds__(256) void SwigluKernel(const T* gate_up, T* y, uint32_t total, uint32_t packs) {
  using P = Pack<T, kSize>;
  LetNextStart();
  WaitForPrevious();
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const uint32_t row = index / packs;
  const P* in = reinterpret_cast<const P*>(gate_up) + static_cast<int64_t>(row) * packs + index;
  const P gate = in[0], up = in[packs];
  P out;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const float g = ToFloat(gate.values[i]);
    const float silu = ToFloat(FromFloat<T>(g * Sigmoid<T>(g)));
    out.values[i] = FromFloat<T>(silu * ToFloat(up.values[i]));
  }
  reinterpret_cast<P*>(y)[index] = out;
}

template <typename T, int kSize>
__global__ __launch_bounds__(256) void SwigluBackwardKernel(const T* gate_up, const T* dy, T* dgate_up, uint32_t total, uint32_t packs) {
  using P = Pack<T, kSize>;
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const int64_t at = static_cast<int64_t>(index / packs) * packs + index;
  const P gate = reinterpret_cast<const P*>(gate_up)[at], up = reinterpret_cast<const P*>(gate_up)[at + packs];
  const P gradient = reinterpret_cast<const P*>(dy)[index];
  P dgate, dup;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const float g = ToFloat(gate.values[i]), u = ToFloat(up.values[i]), d = ToFloat(gradient.values[i]);
    const float sigmoid = Sigmoid<T>(g);
    dup.values[i] = FromFloat<T>(d * ToFloat(FromFloat<T>(g * sigmoid)));
    dgate.values[i] = FromFloat<T>(d * u * sigmoid * (1.0f + g * (1.0f - sigmoid)));
  }
  reinterpret_cast<P*>(dgate_up)[at] = dgate;
  reinterpret_cast<P*>(dgate_up)[at + packs] = dup;
}

template <typename T>
bool Vectors(const SwigluParams& p) {
  return p.f % Vec<T>::kSize == 0 && IsAligned16(p.gate_up) && IsAligned16(p.out) && IsAligned16(p.dy);
}

// run(rows of a launch, offset of its first row): so many at a time that 32 bits count their packs.
template <typename Run>
void ForRowsAtOnce(int64_t rows, int packs, Run&& run) {
  const int64_t most = (int64_t{1} << 31) / packs;
  for (int64_t first = 0; first < rows; first += most) run(std::min(most, rows - first), first);
}

unsigned Blocks(int64_t total) { return static_cast<unsigned>((total + 255) / 256); }

}  // namespace

void LaunchSwiglu(const SwigluParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto kernel, int packs) {
      ForRowsAtOnce(p.rows, packs, [&](int64_t rows, int64_t first) {
        LaunchKernel(kernel, Blocks(rows * packs), 256, 0, stream, static_cast<const T*>(p.gate_up) + first * 2 * p.f, static_cast<T*>(p.out) + first * p.f,
                     static_cast<uint32_t>(rows * packs), static_cast<uint32_t>(packs));
      });
    };
    Vectors<T>(p) ? run(SwigluKernel<T, Vec<T>::kSize>, p.f / Vec<T>::kSize) : run(SwigluKernel<T, 1>, p.f);
  });
}

void LaunchSwigluBackward(const SwigluParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto kernel, int packs) {
      ForRowsAtOnce(p.rows, packs, [&](int64_t rows, int64_t first) {
        kernel<<<Blocks(rows * packs), 256, 0, stream>>>(static_cast<const T*>(p.gate_up) + first * 2 * p.f, static_cast<const T*>(p.dy) + first * p.f,
                                                         static_cast<T*>(p.out) + first * 2 * p.f, static_cast<uint32_t>(rows * packs),
                                                         static_cast<uint32_t>(packs));
      });
    };
    Vectors<T>(p) ? run(SwigluBackwardKernel<T, Vec<T>::kSize>, p.f / Vec<T>::kSize) : run(SwigluBackwardKernel<T, 1>, p.f);
  });
}

}  // namespace fathom::cuda
