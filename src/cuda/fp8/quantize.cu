// Quantising kernels: a block takes a tile of 128 x 128 values into registers, finds the largest magnitudes that it needs (of its rows, its columns, or the whole
// tile) and writes the values in one or both orders; the transposed order goes through shared memory.
#include <cuda_fp8.h>

#include "cuda/fp8/quantize_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kTile = 128, kThreads = 256, kWarps = kThreads / 32;
enum Scaling { kByRow = 1, kByColumn = 2, kByTile = 4 };  // kByRow | kByColumn is both

template <typename T>
struct alignas(16) Eight {
  T values[8];
};

__device__ __forceinline__ float ScaleOf(float largest, bool power_of_two) {
  const float scale = fmaxf(largest, 1e-30f) / 448.0f;
  return power_of_two ? __uint_as_float((__float_as_uint(scale) + 0x7fffffu) & 0x7f800000u) : scale;
}

__device__ __forceinline__ uint32_t FourE4m3(float a, float b, float c, float d) {
  const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  const uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

// Up to eight bytes of `bytes` from address on: at once where the address allows it.
__device__ __forceinline__ void StoreBytes(uint8_t* address, uint2 bytes, int count) {
  if (count >= 8 && reinterpret_cast<uintptr_t>(address) % 8 == 0) {
    *reinterpret_cast<uint2*>(address) = bytes;
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i < count) address[i] = static_cast<uint8_t>((i < 4 ? bytes.x : bytes.y) >> (i % 4 * 8));
  }
}

// A thread's part of the tile: rows first_row .. first_row + 7 of the tile, columns first_column .. + 7. What lies outside is zero.
template <typename T>
__device__ __forceinline__ void LoadPart(Eight<T> (&part)[8], const T* corner, int64_t stride, int first_row, int first_column, int rows, int columns) {
  const bool vectors = stride * sizeof(T) % 16 == 0 && reinterpret_cast<uintptr_t>(corner) % 16 == 0 && first_column + 8 <= columns;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const T* row = corner + (first_row + i) * stride + first_column;
    if (first_row + i < rows && vectors) {
      if constexpr (sizeof(T) == 2) {
        *reinterpret_cast<uint4*>(&part[i]) = __ldcs(reinterpret_cast<const uint4*>(row));
      } else {
        reinterpret_cast<uint4*>(&part[i])[0] = __ldcs(reinterpret_cast<const uint4*>(row));
        reinterpret_cast<uint4*>(&part[i])[1] = __ldcs(reinterpret_cast<const uint4*>(row) + 1);
      }
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) part[i].values[j] = first_row + i < rows && first_column + j < columns ? row[j] : FromFloat<T>(0.0f);
    }
  }
}

// Makes the compiler keep the values as they were loaded, not their conversions.
template <typename T>
__device__ __forceinline__ void KeepPacked(Eight<T> (&part)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    uint32_t* words = reinterpret_cast<uint32_t*>(&part[i]);
#pragma unroll
    for (int j = 0; j < static_cast<int>(sizeof(Eight<T>) / 4); ++j) asm volatile("" : "+r"(words[j]));
  }
}

__device__ __forceinline__ __nv_bfloat162 LargerMagnitude(__nv_bfloat162 a, __nv_bfloat162 b) { return __hmax2(__habs2(a), b); }
__device__ __forceinline__ __half2 LargerMagnitude(__half2 a, __half2 b) { return __hmax2(__habs2(a), b); }
template <typename T>
struct PairOf;
template <>
struct PairOf<__nv_bfloat16> {
  using type = __nv_bfloat162;
};
template <>
struct PairOf<__half> {
  using type = __half2;
};

// The largest magnitudes of a thread's part: of its eight rows and of its eight columns.
template <typename T>
__device__ __forceinline__ void LargestOfPart(const Eight<T> (&part)[8], float (&rows)[8], float (&columns)[8]) {
  if constexpr (sizeof(T) == 2) {
    using Pair = typename PairOf<T>::type;
    const Pair zero{FromFloat<T>(0.0f), FromFloat<T>(0.0f)};
    Pair column[4] = {zero, zero, zero, zero};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const Pair* pairs = reinterpret_cast<const Pair*>(&part[i]);
      Pair row = zero;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        row = LargerMagnitude(pairs[j], row);
        column[j] = LargerMagnitude(pairs[j], column[j]);
      }
      rows[i] = fmaxf(ToFloat(row.x), ToFloat(row.y));
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) columns[j * 2] = ToFloat(column[j].x), columns[j * 2 + 1] = ToFloat(column[j].y);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) rows[i] = columns[i] = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float magnitude = fabsf(part[i].values[j]);
        rows[i] = fmaxf(rows[i], magnitude);
        columns[j] = fmaxf(columns[j], magnitude);
      }
    }
  }
}

// The largest of row i over the sixteen lanes that hold it, for the one row that this lane is left with: RowOfLane().
__device__ __forceinline__ float LargestOfRow(float (&rows)[8]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 4; half > 0; half /= 2) {  // a lane keeps half of its rows and hands the others over
    const bool upper = (lane & (half * 2)) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float given = upper ? rows[i] : rows[i + half], kept = upper ? rows[i + half] : rows[i];
      rows[i] = fmaxf(kept, __shfl_xor_sync(0xffffffffu, given, half * 2));
    }
  }
  return fmaxf(rows[0], __shfl_xor_sync(0xffffffffu, rows[0], 1));
}
__device__ __forceinline__ int RowOfLane() { return threadIdx.x / 2 % 8; }

// Where the tile's results go. Row r of the tile: row_values + r * row_stride, its scale row_scales[r]; column c: column_values + c * column_stride,
// its scale column_scales[c]; of the whole tile: *row_scales and *column_scales. column_bytes: how much of a column to write.
struct Target {
  uint8_t* row_values = nullptr;
  float* row_scales = nullptr;
  uint8_t* column_values = nullptr;
  float* column_scales = nullptr;
  int64_t row_stride = 0, column_stride = 0;
  int column_bytes = kTile;
};

struct TileMemory {
  float largest[kWarps][kTile];
  float inverse[kTile];
  uint2 columns[kTile][kTile / 8];  // chunk i of column c at i ^ (c / 8)
};

template <int kScaling, bool kTransposed, typename T>
__device__ __forceinline__ void QuantizeTile(const T* corner, int64_t stride, int rows, int columns, bool power_of_two, const Target& target, TileMemory& memory) {
  constexpr bool kRowOrder = (kScaling & (kByRow | kByTile)) != 0;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first_row = warp * 16 + lane / 16 * 8, first_column = lane % 16 * 8;
  Eight<T> part[8];
  LoadPart(part, corner, stride, first_row, first_column, rows, columns);
  float row_largest[8], column_largest[8];
  LargestOfPart(part, row_largest, column_largest);
  KeepPacked(part);
  float row_inverse[8];
  if constexpr (kScaling & kByTile) {
    float largest = row_largest[0];
#pragma unroll
    for (int i = 1; i < 8; ++i) largest = fmaxf(largest, row_largest[i]);
    largest = WarpMax(largest);
    if (lane == 0) memory.largest[0][warp] = largest;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kWarps; ++i) largest = fmaxf(largest, memory.largest[0][i]);
    const float scale = ScaleOf(largest, power_of_two), inverse = 1.0f / scale;
    if (threadIdx.x == 0) *target.row_scales = scale, *target.column_scales = scale;
#pragma unroll
    for (int i = 0; i < 8; ++i) row_inverse[i] = inverse;
  }
  if constexpr (kScaling & kByRow) {
    const float scale = ScaleOf(LargestOfRow(row_largest), power_of_two), inverse = 1.0f / scale;
    if (lane % 2 == 0 && first_row + RowOfLane() < rows) target.row_scales[first_row + RowOfLane()] = scale;
#pragma unroll
    for (int i = 0; i < 8; ++i) row_inverse[i] = __shfl_sync(0xffffffffu, inverse, (lane & 16) | i * 2);
  }
  if constexpr (kRowOrder) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const T* v = part[i].values;
      const float s = row_inverse[i];
      const uint2 bytes = make_uint2(FourE4m3(ToFloat(v[0]) * s, ToFloat(v[1]) * s, ToFloat(v[2]) * s, ToFloat(v[3]) * s),
                                     FourE4m3(ToFloat(v[4]) * s, ToFloat(v[5]) * s, ToFloat(v[6]) * s, ToFloat(v[7]) * s));
      if (first_row + i < rows) StoreBytes(target.row_values + (first_row + i) * target.row_stride + first_column, bytes, columns - first_column);
    }
  }
  if constexpr (!kTransposed) return;
  KeepPacked(part);
  float column_inverse[8];
  if constexpr (kScaling & kByColumn) {
#pragma unroll
    for (int j = 0; j < 8; ++j) column_largest[j] = fmaxf(column_largest[j], __shfl_xor_sync(0xffffffffu, column_largest[j], 16));
    if (lane < 16) {
#pragma unroll
      for (int j = 0; j < 8; j += 4)
        *reinterpret_cast<float4*>(&memory.largest[warp][first_column + j]) =
            make_float4(column_largest[j], column_largest[j + 1], column_largest[j + 2], column_largest[j + 3]);
    }
    __syncthreads();
    if (threadIdx.x < kTile) {
      float largest = memory.largest[0][threadIdx.x];
#pragma unroll
      for (int i = 1; i < kWarps; ++i) largest = fmaxf(largest, memory.largest[i][threadIdx.x]);
      const float scale = ScaleOf(largest, power_of_two);
      memory.inverse[threadIdx.x] = 1.0f / scale;
      if (static_cast<int>(threadIdx.x) < columns) target.column_scales[threadIdx.x] = scale;
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < 8; ++j) column_inverse[j] = memory.inverse[first_column + j];
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) column_inverse[j] = row_inverse[0];
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float s = column_inverse[j];
    const auto value = [&](int i) { return ToFloat(part[i].values[j]) * s; };
    memory.columns[first_column + j][(first_row / 8) ^ (first_column / 8)] =
        make_uint2(FourE4m3(value(0), value(1), value(2), value(3)), FourE4m3(value(4), value(5), value(6), value(7)));
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int column = i * 32 + threadIdx.x / 8, chunk = threadIdx.x % 8 * 2;
    if (column >= columns) continue;
    const uint2 low = memory.columns[column][chunk ^ (column / 8)], high = memory.columns[column][(chunk + 1) ^ (column / 8)];
    uint8_t* address = target.column_values + column * target.column_stride + chunk * 8;
    if (chunk * 8 + 16 <= target.column_bytes && reinterpret_cast<uintptr_t>(address) % 16 == 0) {
      *reinterpret_cast<uint4*>(address) = make_uint4(low.x, low.y, high.x, high.y);
    } else {
      StoreBytes(address, low, target.column_bytes - chunk * 8);
      StoreBytes(address + 8, high, target.column_bytes - chunk * 8 - 8);
    }
  }
}

// The rows of block `block`: first, and how many (0: past the used blocks). Groups are cut into blocks of 128 rows each for itself. By the first warp.
__device__ __forceinline__ int2 RowsOfBlock(const int32_t* offsets, int groups, int block) {
  const int lane = threadIdx.x % 32;
  int before = 0;
  for (int g0 = 0; g0 < groups; g0 += 32) {
    const int g = g0 + lane;
    const int begin = g < groups ? __ldg(offsets + g) : 0, end = g < groups ? __ldg(offsets + g + 1) : 0;
    const int blocks = (end - begin + kTile - 1) / kTile;
    int through = blocks;  // blocks of the groups up to this one
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, through, offset);
      if (lane >= offset) through += other;
    }
    through += before;
    const unsigned holds = __ballot_sync(0xffffffffu, block < through);
    if (holds != 0) {
      const int first_lane = __ffs(static_cast<int>(holds)) - 1;
      const int first = begin + (block - (through - blocks)) * kTile;
      return make_int2(__shfl_sync(0xffffffffu, first, first_lane), __shfl_sync(0xffffffffu, min(kTile, end - first), first_lane));
    }
    before = __shfl_sync(0xffffffffu, through, 31);
  }
  return make_int2(0, 0);
}

template <int kScaling, typename T>
__global__ __launch_bounds__(kThreads, sizeof(T) == 2 ? 3 : 2) void QuantizeKernel(const __grid_constant__ Fp8QuantizeParams p) {
  __shared__ TileMemory memory;
  __shared__ int2 found;
  LetNextStart();
  WaitForPrevious();
  const int block = blockIdx.y, k0 = blockIdx.x * kTile;
  int2 rows = make_int2(block * kTile, min(kTile, p.rows - block * kTile));
  if (p.offsets != nullptr) {
    if (threadIdx.x < 32) {
      rows = RowsOfBlock(p.offsets, p.groups, block);
      if (threadIdx.x == 0) found = rows;
    }
    __syncthreads();
    rows = found;
    if (rows.y == 0) return;
  }
  Target target;
  target.row_values = static_cast<uint8_t*>(p.row_values) + static_cast<int64_t>(rows.x) * p.k + k0;
  target.row_stride = p.k;
  target.row_scales = p.row_scales + static_cast<int64_t>(blockIdx.x) * p.rows + rows.x;
  target.column_values = static_cast<uint8_t*>(p.column_values) + (static_cast<int64_t>(block) * p.k + k0) * kTile;
  target.column_stride = kTile;
  target.column_scales = p.column_scales + static_cast<int64_t>(block) * p.k + k0;
  QuantizeTile<kScaling, (kScaling & kByColumn) != 0>(static_cast<const T*>(p.x) + rows.x * p.x_stride + k0, p.x_stride, rows.y, min(kTile, p.k - k0), p.power_of_two,
                                                      target, memory);
}

template <typename T>
__global__ __launch_bounds__(kThreads, sizeof(T) == 2 ? 3 : 2) void QuantizeWeightKernel(const __grid_constant__ Fp8QuantizeWeightParams p) {
  __shared__ TileMemory memory;
  LetNextStart();
  WaitForPrevious();
  const int k0 = blockIdx.x * kTile, n0 = blockIdx.y * kTile, k_blocks = gridDim.x, n_blocks = gridDim.y;
  const int64_t expert = blockIdx.z, matrix = expert * p.n * p.k;
  Target target;
  target.row_values = static_cast<uint8_t*>(p.values) + matrix + static_cast<int64_t>(n0) * p.k + k0;
  target.row_stride = p.k;
  target.row_scales = p.scales + (expert * n_blocks + blockIdx.y) * k_blocks + blockIdx.x;
  target.column_values = static_cast<uint8_t*>(p.transposed) + matrix + static_cast<int64_t>(k0) * p.n + n0;
  target.column_stride = p.n;
  target.column_scales = p.transposed_scales + (expert * k_blocks + blockIdx.x) * n_blocks + blockIdx.y;
  target.column_bytes = min(kTile, p.n - n0);
  QuantizeTile<kByTile, true>(static_cast<const T*>(p.w) + matrix + static_cast<int64_t>(n0) * p.k + k0, p.k, min(kTile, p.n - n0), min(kTile, p.k - k0),
                              p.power_of_two, target, memory);
}

}  // namespace

void LaunchFp8Quantize(const Fp8QuantizeParams& p, cudaStream_t stream) {
  const dim3 grid((p.k + kTile - 1) / kTile, p.blocks);
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto kernel) { LaunchKernel(kernel, grid, kThreads, 0, stream, p); };
    if (p.column_values == nullptr) return run(QuantizeKernel<kByRow, T>);
    p.row_values == nullptr ? run(QuantizeKernel<kByColumn, T>) : run(QuantizeKernel<kByRow | kByColumn, T>);
  });
}

void LaunchFp8QuantizeWeight(const Fp8QuantizeWeightParams& p, cudaStream_t stream) {
  const dim3 grid((p.k + kTile - 1) / kTile, (p.n + kTile - 1) / kTile, p.experts);
  DispatchDtype(p.dtype, [&](auto type) { LaunchKernel(QuantizeWeightKernel<typename decltype(type)::type>, grid, kThreads, 0, stream, p); });
}

}  // namespace fathom::cuda
