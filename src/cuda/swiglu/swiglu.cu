#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"
#include "cuda/swiglu/swiglu_kernel.h"

namespace fathom::cuda {
namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

// kSize columns a thread.
template <typename T, int kSize>
__global__ void SwigluKernel(const T* gate_up, T* y, int64_t total, int packs) {
  using P = Pack<T, kSize>;
  LetNextStart();
  WaitForPrevious();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const int64_t row = index / packs, column = index % packs;
  const P* in = reinterpret_cast<const P*>(gate_up) + row * 2 * packs + column;
  const P gate = in[0], up = in[packs];
  P out;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const float g = ToFloat(gate.values[i]);
    const float silu = ToFloat(FromFloat<T>(g / (1.0f + expf(-g))));
    out.values[i] = FromFloat<T>(silu * ToFloat(up.values[i]));
  }
  reinterpret_cast<P*>(y)[index] = out;
}

template <typename T, int kSize>
__global__ void SwigluBackwardKernel(const T* gate_up, const T* dy, T* dgate_up, int64_t total, int packs) {
  using P = Pack<T, kSize>;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const int64_t row = index / packs, column = index % packs, at = row * 2 * packs + column;
  const P gate = reinterpret_cast<const P*>(gate_up)[at], up = reinterpret_cast<const P*>(gate_up)[at + packs];
  const P gradient = reinterpret_cast<const P*>(dy)[index];
  P dgate, dup;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const float g = ToFloat(gate.values[i]), u = ToFloat(up.values[i]), d = ToFloat(gradient.values[i]);
    const float sigmoid = 1.0f / (1.0f + expf(-g));
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

unsigned Blocks(int64_t total) { return static_cast<unsigned>((total + 255) / 256); }

}  // namespace

void LaunchSwiglu(const SwigluParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto kernel, int packs) {
      LaunchKernel(kernel, Blocks(p.rows * packs), 256, 0, stream, static_cast<const T*>(p.gate_up), static_cast<T*>(p.out), p.rows * packs, packs);
    };
    Vectors<T>(p) ? run(SwigluKernel<T, Vec<T>::kSize>, p.f / Vec<T>::kSize) : run(SwigluKernel<T, 1>, p.f);
  });
}

void LaunchSwigluBackward(const SwigluParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto kernel, int packs) {
      kernel<<<Blocks(p.rows * packs), 256, 0, stream>>>(static_cast<const T*>(p.gate_up), static_cast<const T*>(p.dy), static_cast<T*>(p.out),
                                                         p.rows * packs, packs);
    };
    Vectors<T>(p) ? run(SwigluBackwardKernel<T, Vec<T>::kSize>, p.f / Vec<T>::kSize) : run(SwigluBackwardKernel<T, 1>, p.f);
  });
}

}  // namespace fathom::cuda
