// The product of a few rows with 16 rows of a weight, by one block: the core of linear_rows and of the small grouped_linear.
// The order of the sums over K depends on K alone: K is cut into kWarps slices, each warp adds its slice in steps of 32 on the tensor cores
// (16-bit formats; a column of the product never sees the others), and the slices are added in order.
#pragma once

#include "cuda/mma.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {

inline constexpr int kRowProductWarps = 8;
inline constexpr int kRowProductTile = 16;  // rows of the weight a block

// Eight 16-bit values from address k0 of a row of k; zeros past the end. Rows are 16-byte aligned where kAligned.
template <bool kAligned, bool kStreaming, typename T>
__device__ __forceinline__ uint4 LoadEight(const T* row, int k0, int k, bool valid) {
  if (!valid || k0 >= k) return make_uint4(0, 0, 0, 0);
  if constexpr (kAligned) {
    if constexpr (kStreaming) return LoadStreaming(row + k0);
    return __ldg(reinterpret_cast<const uint4*>(row + k0));
  } else {
    alignas(16) T values[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = k0 + i < k ? row[k0 + i] : FromFloat<T>(0.0f);
    return *reinterpret_cast<const uint4*>(values);
  }
}

// sums += rows [0, num_x) of x (num_x <= 8 * kColumnTiles) times one pair of rows of w a lane (lane / 4): rows of k values, of which this warp, `warp` of
// `warps`, takes its slice.
template <typename T, int kColumnTiles, bool kAligned>
__device__ __forceinline__ void AddRowPairProducts(const T* __restrict__ x, int64_t x_stride, int num_x, const T* __restrict__ w_low, bool low_valid,
                                                   const T* __restrict__ w_high, bool high_valid, int k, float (&sums)[kColumnTiles][4],
                                                   int warp, int warps) {
  constexpr int kUnroll = kColumnTiles == 1 ? 8 : 4;
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int slice = ((k + 31) / 32 + warps - 1) / warps * 32;
  const int begin = warp * slice, end = min(k, begin + slice);
  for (int k0 = begin + t * 8; k0 < end + t * 8; k0 += 32 * kUnroll) {
    uint4 low[kUnroll], high[kUnroll], rows[kUnroll][kColumnTiles];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      low[i] = LoadEight<kAligned, true>(w_low, k0 + i * 32, end, low_valid);
      high[i] = LoadEight<kAligned, true>(w_high, k0 + i * 32, end, high_valid);
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c)
        rows[i][c] = LoadEight<kAligned, false>(x + static_cast<int64_t>(c * 8 + g) * x_stride, k0 + i * 32, end, c * 8 + g < num_x);
    }
    // The eight k values of a lane are taken as two products of sixteen: the same permutation of k on both sides.
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        Mma<T>(sums[c], low[i].x, high[i].x, low[i].y, high[i].y, rows[i][c].x, rows[i][c].y);
        Mma<T>(sums[c], low[i].z, high[i].z, low[i].w, high[i].w, rows[i][c].z, rows[i][c].w);
      }
    }
  }
}

// Adds the warps' sums in order: after the call partial[0][column][row] holds them, and all threads of the block have passed a barrier.
template <int kColumnTiles, int kWarps = kRowProductWarps>
__device__ __forceinline__ void AddSlices(const float (&sums)[kColumnTiles][4], float (*partial)[8 * kColumnTiles][kRowProductTile + 1]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int c = 0; c < kColumnTiles; ++c) {
    partial[warp][c * 8 + 2 * t][g] = sums[c][0];
    partial[warp][c * 8 + 2 * t + 1][g] = sums[c][1];
    partial[warp][c * 8 + 2 * t][g + 8] = sums[c][2];
    partial[warp][c * 8 + 2 * t + 1][g + 8] = sums[c][3];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 8 * kColumnTiles * kRowProductTile; i += blockDim.x) {
    const int column = i / kRowProductTile, row = i % kRowProductTile;
    float sum = partial[0][column][row];
#pragma unroll
    for (int other = 1; other < kWarps; ++other) sum += partial[other][column][row];
    partial[0][column][row] = sum;
  }
  __syncthreads();
}

// Rows [0, num_x) of x times rows n0 .. n0 + 15 of w [n, k], left in partial[0] as AddSlices says.
template <typename T, int kColumnTiles, bool kAligned>
__device__ __forceinline__ void RowProducts(const T* __restrict__ x, int64_t x_stride, int num_x, const T* __restrict__ w, int n0, int n, int k,
                                            float (*partial)[8 * kColumnTiles][kRowProductTile + 1]) {
  const int g = threadIdx.x % 32 / 4;
  const T* w_low = w + static_cast<int64_t>(n0 + g) * k;
  float sums[kColumnTiles][4] = {};
  AddRowPairProducts<T, kColumnTiles, kAligned>(x, x_stride, num_x, w_low, n0 + g < n, w_low + static_cast<int64_t>(8) * k, n0 + g + 8 < n, k, sums,
                                                threadIdx.x / 32, kRowProductWarps);
  AddSlices<kColumnTiles>(sums, partial);
}

// The expert of grid slot `slot`: with a slot an expert, itself; with a slot a row, the expert whose first row it is (-1: no expert's).
__device__ __forceinline__ int ExpertOfSlot(const int32_t* offsets, int experts, bool slot_is_row, int slot, int* shared) {
  if (!slot_is_row) return slot;
  if (threadIdx.x == 0) *shared = -1;
  __syncthreads();
  for (int e = threadIdx.x; e < experts; e += blockDim.x) {
    if (offsets[e] == slot && offsets[e + 1] > slot) *shared = e;
  }
  __syncthreads();
  return *shared;
}

// The same on the plain arithmetic units, for float32: one row of w by a block of kPlainThreads threads, kRows rows of x. The sum of row m
// is on every thread of the block afterwards.
inline constexpr int kPlainThreads = 128;

template <int kBytes>
__device__ __forceinline__ bool IsAligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % kBytes == 0;
}

__device__ __forceinline__ void LoadFour(const float* address, float (&out)[4]) {
  const float4 values = __ldg(reinterpret_cast<const float4*>(address));
  out[0] = values.x, out[1] = values.y, out[2] = values.z, out[3] = values.w;
}
__device__ __forceinline__ void LoadFour(const __nv_bfloat16* address, float (&out)[4]) {
  const uint2 values = __ldg(reinterpret_cast<const uint2*>(address));  // a bfloat16 is the upper half of a float
  out[0] = __uint_as_float(values.x << 16), out[1] = __uint_as_float(values.x & 0xffff0000u);
  out[2] = __uint_as_float(values.y << 16), out[3] = __uint_as_float(values.y & 0xffff0000u);
}

template <typename X, typename W, int kRows>
__device__ __forceinline__ void PlainRowProducts(const X* __restrict__ x, int64_t x_stride, int num_x, const W* __restrict__ w_row, int k,
                                                 float (&sums)[kRows], float* scratch) {
#pragma unroll
  for (int m = 0; m < kRows; ++m) sums[m] = 0.0f;
  const bool vectors = k % 4 == 0 && x_stride % 4 == 0 && IsAligned<4 * sizeof(X)>(x) && IsAligned<4 * sizeof(W)>(w_row);
  const auto add = [&](auto load) {
#pragma unroll 4
    for (int k0 = threadIdx.x * 4; k0 < k; k0 += kPlainThreads * 4) {
      float weights[4];
      load(w_row, k0, weights);
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        if (m < num_x) {
          float values[4];
          load(x + m * x_stride, k0, values);
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[m] = fmaf(values[i], weights[i], sums[m]);
        }
      }
    }
  };
  if (vectors) {
    add([](const auto* row, int k0, float(&out)[4]) { LoadFour(row + k0, out); });
  } else {
    add([k](const auto* row, int k0, float(&out)[4]) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] = k0 + i < k ? ToFloat(row[k0 + i]) : 0.0f;
    });
  }
  for (int m = 0; m < kRows; ++m) {
    if (m < num_x) sums[m] = BlockSum(sums[m], scratch);
  }
}

}  // namespace fathom::cuda
