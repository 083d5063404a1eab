// Rows of MLA's FP8 cache (ops/cache/fp8_latents.h) on the device.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace fathom::cuda {

inline constexpr int kFp8Group = 128;
inline constexpr int kFp8RopeOffset = 512 + 512 / kFp8Group * 4, kFp8RowBytes = kFp8RopeOffset + 64 * 2;  // of V2's and V3's shape
inline constexpr float kFp8Max = 448.0f;

// Two e4m3 values (the low 16 bits) times a scale, as a pair of T.
template <typename T>
__device__ __forceinline__ uint32_t WidenFp8Pair(uint32_t packed, float scale);
template <>
__device__ __forceinline__ uint32_t WidenFp8Pair<__nv_bfloat16>(uint32_t packed, float scale) {
  const __half2_raw halves = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(packed), __NV_E4M3);
  const float2 values = __half22float2(__half2(halves));
  const __nv_bfloat162 pair = __floats2bfloat162_rn(values.x * scale, values.y * scale);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

}  // namespace fathom::cuda
