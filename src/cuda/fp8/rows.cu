// Few rows times an FP8 weight, bound by the weight's bytes: its values are expanded in registers and multiplied by 16-bit tensor cores. A block makes 16
// columns of the output; its warps take slices of K, in steps of 64 whose sums get the block's scale in float32. The order of the sums depends on K alone.
#include <cuda_fp8.h>

#include "cuda/fp8/rows_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/linear/row_products.cuh"

namespace fathom::cuda {
namespace {

constexpr int kStep = 64;  // values of K that a warp takes at once

// Four e4m3 bytes as two pairs of T, exactly.
template <typename T>
__device__ __forceinline__ void ExpandFour(uint32_t bytes, uint32_t& low, uint32_t& high);

// The byte's exponent and mantissa at a bfloat16's place are the value over 2^120, subnormals too. Each byte comes with its sign eight times above it.
template <>
__device__ __forceinline__ void ExpandFour<__nv_bfloat16>(uint32_t bytes, uint32_t& low, uint32_t& high) {
  const auto expand = [](uint32_t pair) {
    const uint32_t bits = (pair << 4) & 0x87f087f0u, factor = 0x7b807b80u;
    const __nv_bfloat162 product = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits), *reinterpret_cast<const __nv_bfloat162*>(&factor));
    return *reinterpret_cast<const uint32_t*>(&product);
  };
  uint32_t first, second;
  asm("prmt.b32 %0, %1, 0, 0x9180;" : "=r"(first) : "r"(bytes));
  asm("prmt.b32 %0, %1, 0, 0xb3a2;" : "=r"(second) : "r"(bytes));
  low = expand(first);
  high = expand(second);
}

template <>
__device__ __forceinline__ void ExpandFour<__half>(uint32_t bytes, uint32_t& low, uint32_t& high) {
  const __half2_raw a = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(bytes & 0xffff), __NV_E4M3);
  const __half2_raw b = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(bytes >> 16), __NV_E4M3);
  low = *reinterpret_cast<const uint32_t*>(&a);
  high = *reinterpret_cast<const uint32_t*>(&b);
}

__device__ __forceinline__ float FromE4m3(uint8_t byte) {
  const __half_raw half = __nv_cvt_fp8_to_halfraw(byte, __NV_E4M3);
  return __half2float(__half(half));
}

// Sixteen bytes from k0 on of a row of k; zeros past the end.
template <bool kAligned>
__device__ __forceinline__ uint4 LoadBytes(const uint8_t* row, int k0, int k, bool valid) {
  if (!valid || k0 >= k) return make_uint4(0, 0, 0, 0);
  if constexpr (kAligned) {
    return LoadStreaming(row + k0);
  } else {
    alignas(16) uint8_t bytes[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) bytes[i] = k0 + i < k ? row[k0 + i] : 0;
    return *reinterpret_cast<const uint4*>(bytes);
  }
}

// sums += rows [0, num_x) of x times rows n0 .. n0 + 15 of w, this warp's slice of K; scales: of these rows' blocks.
template <typename T, int kColumnTiles, bool kAligned>
__device__ __forceinline__ void AddProducts(const T* __restrict__ x, int num_x, const uint8_t* __restrict__ w, const float* __restrict__ scales, int n0, int n, int k,
                                            float (&sums)[kColumnTiles][4]) {
  constexpr int kUnroll = kColumnTiles == 1 ? 2 : 1;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int slice = ((k + kStep - 1) / kStep + kRowProductWarps - 1) / kRowProductWarps * kStep;
  const int begin = warp * slice, end = min(k, begin + slice);
  const uint8_t* low_row = w + static_cast<int64_t>(n0 + g) * k;
  const uint8_t* high_row = low_row + static_cast<int64_t>(8) * k;
  for (int start = begin; start < end; start += kStep * kUnroll) {
    uint4 low[kUnroll], high[kUnroll], rows[kUnroll][kColumnTiles][2];
    float scale[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int k0 = start + i * kStep + t * 16;
      low[i] = LoadBytes<kAligned>(low_row, k0, end, n0 + g < n);
      high[i] = LoadBytes<kAligned>(high_row, k0, end, n0 + g + 8 < n);
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int k0 = start + i * kStep + t * 16;
      scale[i] = start + i * kStep < end ? __ldg(scales + (start + i * kStep) / 128) : 0.0f;
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        const T* row = x + static_cast<int64_t>(c * 8 + g) * k;
        rows[i][c][0] = LoadEight<kAligned, false>(row, k0, end, c * 8 + g < num_x);
        rows[i][c][1] = LoadEight<kAligned, false>(row, k0 + 8, end, c * 8 + g < num_x);
      }
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      float part[kColumnTiles][4] = {};
#pragma unroll
      for (int q = 0; q < 4; ++q) {  // sixteen values of a lane are four products' worth: the same permutation of K on both sides
        const auto word = [q](const uint4& v) { return q == 0 ? v.x : q == 1 ? v.y : q == 2 ? v.z : v.w; };
        uint32_t a0, a1, a2, a3;
        ExpandFour<T>(word(low[i]), a0, a2);
        ExpandFour<T>(word(high[i]), a1, a3);
#pragma unroll
        for (int c = 0; c < kColumnTiles; ++c) {
          const uint4& values = rows[i][c][q / 2];
          Mma<T>(part[c], a0, a1, a2, a3, q % 2 == 0 ? values.x : values.z, q % 2 == 0 ? values.y : values.w);
        }
      }
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[c][j] = fmaf(scale[i], part[c][j], sums[c][j]);
      }
    }
  }
}

template <typename T, int kColumnTiles, bool kAligned>
__global__ __launch_bounds__(kRowProductWarps * 32, kAligned ? 4 : 2) void Fp8RowsKernel(const __grid_constant__ Fp8RowsParams p, bool slot_is_row) {
  __shared__ float partial[kRowProductWarps][8 * kColumnTiles][kRowProductTile + 1];
  __shared__ int found;
  const int n0 = blockIdx.x * kRowProductTile;
  const auto* values = static_cast<const uint8_t*>(p.w);
  LetNextStart();
  if (kAligned && blockIdx.x < p.early_blocks && threadIdx.x < kRowProductTile && n0 + threadIdx.x < p.n)
    PrefetchToL2(values + static_cast<int64_t>(n0 + threadIdx.x) * p.k, p.k);
  WaitForPrevious();
  int expert = 0, begin = 0, end = p.rows;
  if (p.offsets != nullptr) {
    expert = ExpertOfSlot(p.offsets, p.experts, slot_is_row, blockIdx.y, &found);
    if (expert < 0) return;
    begin = p.offsets[expert], end = p.offsets[expert + 1];
  }
  const int row_blocks = (p.n + 127) / 128, k_blocks = (p.k + 127) / 128;
  const uint8_t* w = values + static_cast<int64_t>(expert) * p.n * p.k;
  const float* scales = p.scales + (static_cast<int64_t>(expert) * row_blocks + n0 / 128) * k_blocks;
  const T* x = static_cast<const T*>(p.x);
  const T* bias = static_cast<const T*>(p.bias);
  T* y = static_cast<T*>(p.y);
  for (int row0 = begin; row0 < end; row0 += 8 * kColumnTiles) {
    const int num_rows = min(8 * kColumnTiles, end - row0);
    float sums[kColumnTiles][4] = {};
    AddProducts<T, kColumnTiles, kAligned>(x + static_cast<int64_t>(row0) * p.k, num_rows, w, scales, n0, p.n, p.k, sums);
    AddSlices<kColumnTiles>(sums, partial);
    for (int i = threadIdx.x; i < num_rows * kRowProductTile; i += blockDim.x) {
      const int column = i / kRowProductTile, row = i % kRowProductTile;
      if (n0 + row >= p.n) continue;
      const float sum = partial[0][column][row] + (bias == nullptr ? 0.0f : ToFloat(bias[n0 + row]));
      y[static_cast<int64_t>(row0 + column) * p.n + n0 + row] = FromFloat<T>(sum);
    }
    __syncthreads();
  }
}

// float32 on the plain arithmetic units: a block a row of the weight.
__global__ __launch_bounds__(kPlainThreads) void PlainFp8RowsKernel(const __grid_constant__ Fp8RowsParams p, bool slot_is_row) {
  constexpr int kRows = 4;
  __shared__ float scratch[32];
  __shared__ int found;
  LetNextStart();
  WaitForPrevious();
  int expert = 0, begin = 0, end = p.rows;
  if (p.offsets != nullptr) {
    expert = ExpertOfSlot(p.offsets, p.experts, slot_is_row, blockIdx.y, &found);
    if (expert < 0) return;
    begin = p.offsets[expert], end = p.offsets[expert + 1];
  }
  const int row = blockIdx.x, row_blocks = (p.n + 127) / 128, k_blocks = (p.k + 127) / 128;
  const uint8_t* w = static_cast<const uint8_t*>(p.w) + (static_cast<int64_t>(expert) * p.n + row) * p.k;
  const float* scales = p.scales + (static_cast<int64_t>(expert) * row_blocks + row / 128) * k_blocks;
  const float* x = static_cast<const float*>(p.x);
  const float* bias = static_cast<const float*>(p.bias);
  float* y = static_cast<float*>(p.y);
  for (int row0 = begin; row0 < end; row0 += kRows) {
    float sums[kRows] = {};
    for (int k = threadIdx.x; k < p.k; k += kPlainThreads) {
      const float weight = FromE4m3(w[k]) * scales[k / 128];
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        if (row0 + m < end) sums[m] = fmaf(x[static_cast<int64_t>(row0 + m) * p.k + k], weight, sums[m]);
      }
    }
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      const float sum = BlockSum(sums[m], scratch);
      if (threadIdx.x == 0 && row0 + m < end) y[static_cast<int64_t>(row0 + m) * p.n + row] = sum + (bias == nullptr ? 0.0f : bias[row]);
    }
  }
}

template <typename T>
void LaunchTensorCores(const Fp8RowsParams& p, dim3 grid, bool slot_is_row, cudaStream_t stream) {
  grid.x = (p.n + kRowProductTile - 1) / kRowProductTile;
  const auto run = [&](auto kernel) { LaunchKernel(kernel, grid, kRowProductWarps * 32, 0, stream, p, slot_is_row); };
  if (p.k % 16 != 0 || !IsAligned16(p.x) || !IsAligned16(p.w)) return run(Fp8RowsKernel<T, 2, false>);
  const bool few = p.offsets == nullptr ? p.rows <= 8 : p.rows <= 4 * p.experts;
  few ? run(Fp8RowsKernel<T, 1, true>) : run(Fp8RowsKernel<T, 2, true>);
}

}  // namespace

void LaunchFp8Rows(const Fp8RowsParams& p, cudaStream_t stream) {
  const bool slot_is_row = p.offsets != nullptr && p.rows < p.experts;
  const dim3 grid(p.n, p.offsets == nullptr ? 1 : slot_is_row ? p.rows : p.experts);
  if (p.dtype == Dtype::kBf16) return LaunchTensorCores<__nv_bfloat16>(p, grid, slot_is_row, stream);
  if (p.dtype == Dtype::kF16) return LaunchTensorCores<__half>(p, grid, slot_is_row, stream);
  LaunchKernel(PlainFp8RowsKernel, grid, kPlainThreads, 0, stream, p, slot_is_row);
}

}  // namespace fathom::cuda
