// Scalars and 16-byte vectors of the three number formats, and reductions over a warp or a block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/dtype.h"

namespace fathom::cuda {

__device__ __forceinline__ float ToFloat(float value) { return value; }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float ToFloat(__half value) { return __half2float(value); }

template <typename T>
__device__ __forceinline__ T FromFloat(float value);
template <>
__device__ __forceinline__ float FromFloat<float>(float value) { return value; }
template <>
__device__ __forceinline__ __nv_bfloat16 FromFloat<__nv_bfloat16>(float value) { return __float2bfloat16_rn(value); }
template <>
__device__ __forceinline__ __half FromFloat<__half>(float value) { return __float2half_rn(value); }

// Two floats rounded and packed into one register of T pairs (low half first).
template <typename T>
__device__ __forceinline__ uint32_t PackPair(float low, float high);
template <>
__device__ __forceinline__ uint32_t PackPair<__nv_bfloat16>(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <>
__device__ __forceinline__ uint32_t PackPair<__half>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// 16 bytes of T.
template <typename T>
struct alignas(16) Vec {
  static constexpr int kSize = 16 / sizeof(T);
  T values[kSize];
};

template <typename T>
__device__ __forceinline__ Vec<T> LoadVec(const T* address) { return *reinterpret_cast<const Vec<T>*>(address); }
template <typename T>
__device__ __forceinline__ void StoreVec(T* address, const Vec<T>& vec) { *reinterpret_cast<Vec<T>*>(address) = vec; }

// Makes the compiler keep the values as they were loaded, not one register each.
template <typename T>
__device__ __forceinline__ void KeepPacked(Vec<T>& vec) {
  uint32_t* words = reinterpret_cast<uint32_t*>(&vec);
#pragma unroll
  for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(words[i]));
}

// A weight read once: past L1, with the line's neighbour fetched into L2.
__device__ __forceinline__ uint4 LoadStreaming(const void* address) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(address));
  return value;
}

// A hint to bring `bytes` (a multiple of 16, from a multiple of 16) into L2: harmless wherever the memory is readable, whoever writes it meanwhile.
// One thread's call is one request. Before Hopper it does nothing.
__device__ __forceinline__ void PrefetchToL2(const void* address, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "r"(bytes));
#endif
}

__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__device__ __forceinline__ float WarpMax(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

// Sum over a block of at most 1024 threads, the same on every thread. `scratch` holds 32 floats and may be used again after the call.
__device__ __forceinline__ float BlockSum(float value, float* scratch) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, num_warps = (blockDim.x + 31) / 32;
  value = WarpSum(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = WarpSum(lane < num_warps ? scratch[lane] : 0.0f);
  __syncthreads();
  return value;
}

template <typename T>
struct Type {
  using type = T;
};

// Calls function(Type<T>{}) with the C++ type of `dtype`.
template <typename Function>
void DispatchDtype(Dtype dtype, Function&& function) {
  switch (dtype) {
    case Dtype::kF32:
      return function(Type<float>{});
    case Dtype::kBf16:
      return function(Type<__nv_bfloat16>{});
    case Dtype::kF16:
      return function(Type<__half>{});
  }
}

inline bool IsAligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace fathom::cuda
