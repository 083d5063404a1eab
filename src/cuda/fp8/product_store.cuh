// A warp's part of a finished tile, 16 rows of 128 columns in registers as wgmma leaves them, to the output.
#pragma once

#include "cuda/fp8/hopper.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace fp8 {

template <typename Out>
struct StoreTile;

// A warp's 16 rows, 64 columns at a time through shared memory, so that a row is written 128 bytes at once.
template <>
struct StoreTile<__nv_bfloat16> {
  static __device__ __forceinline__ void Run(const float (&sums)[64], __nv_bfloat16* corner, int64_t stride, int rows, int columns, uint32_t staging_address,
                                             const char* staging) {
    const int lane = threadIdx.x % 32;
    const int row = lane / 8 % 2 * 8 + lane % 8;  // the row whose address this lane gives to the matrix store
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = half * 32 + i * 8;
        const uint32_t address = staging_address + row * 128 + (((i * 2 + lane / 16) ^ (row % 8)) * 16);
        hopper::StoreMatrix4(address, PackPair<__nv_bfloat16>(sums[at], sums[at + 1]), PackPair<__nv_bfloat16>(sums[at + 2], sums[at + 3]),
                             PackPair<__nv_bfloat16>(sums[at + 4], sums[at + 5]), PackPair<__nv_bfloat16>(sums[at + 6], sums[at + 7]));
      }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = i * 4 + lane / 8, c = lane % 8;
        const uint4 values = *reinterpret_cast<const uint4*>(staging + r * 128 + ((c ^ (r % 8)) * 16));
        if (r < rows && half * 64 + c * 8 < columns) *reinterpret_cast<uint4*>(corner + r * stride + half * 64 + c * 8) = values;
      }
    }
  }
};

// Four lanes write the 32 bytes of a sector.
template <>
struct StoreTile<float> {
  static __device__ __forceinline__ void Run(const float (&sums)[64], float* corner, int64_t stride, int rows, int columns, uint32_t, const char*) {
    const int lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float* target = corner + row * stride + i * 8 + column;
      const bool inside = i * 8 + column < columns;
      if (inside && row < rows) *reinterpret_cast<float2*>(target) = make_float2(sums[i * 4], sums[i * 4 + 1]);
      if (inside && row + 8 < rows) *reinterpret_cast<float2*>(target + 8 * stride) = make_float2(sums[i * 4 + 2], sums[i * 4 + 3]);
    }
  }
};

}  // namespace fp8
}  // namespace fathom::cuda
