// Products of FP8 operands with block scales (ops/fp8/fp8.h) on Hopper's tensor cores, on raw pointers.
// Legend: M rows, N columns of the output, Q values of the sum (quantised axis), B = ceil(Q / 128) blocks of it, G groups (experts).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace fathom::cuda {

enum class Fp8Output : int32_t { kBf16, kF32 };

// out[m, n] = sum_b a_scale[b, m] w_scale[g, n / 128, b] sum_{q in b} a[m, q] w[g, n, q], rows m of group g: offsets[g] <= m < offsets[g + 1].
struct Fp8LinearParams {
  const void* a = nullptr;         // e4m3 [M, Q]
  const float* a_scale = nullptr;  // [B, M]
  const void* w = nullptr;         // e4m3 [G, N, Q]
  const float* w_scale = nullptr;  // [G, ceil(N / 128), B]
  void* out = nullptr;             // [M, N]
  const int32_t* offsets = nullptr;  // [G + 1]; null: one group of all rows
  int rows = 0, columns = 0, depth = 0, groups = 1;
  Fp8Output output = Fp8Output::kBf16;
  int tile_rows = 128;  // ChooseFp8TileRows
  int num_processors = 0;
};

// out[g, n, k] = sum over the blocks b of group g of a_scale[b, n] x_scale[b, k] sum_i a[b, n, i] x[b, k, i]; group g has ceil(rows / 128) blocks, one
// group's after the other's. Groups without rows give zeros.
struct Fp8WgradParams {
  const void* a = nullptr;         // e4m3 [blocks, N, 128]
  const float* a_scale = nullptr;  // [blocks, N]
  const void* x = nullptr;         // e4m3 [blocks, K, 128]
  const float* x_scale = nullptr;  // [blocks, K]
  void* out = nullptr;             // [G, N, K]
  const int32_t* offsets = nullptr;  // [G + 1]; null: one group of `rows` rows
  int rows = 0, blocks = 0, n = 0, k = 0, groups = 1;
  Fp8Output output = Fp8Output::kF32;
  int num_processors = 0;
};

// Rows of a tile, 128 or 256: the larger reads less, the smaller wastes less where groups are small.
inline int ChooseFp8TileRows(int64_t rows, int64_t groups, int64_t columns, int num_processors) {
  const int64_t rows_a_group = (rows + groups - 1) / (groups > 0 ? groups : 1), pairs = (columns + 255) / 256;
  const int64_t large = (rows_a_group + 255) / 256 * groups * pairs, small = (rows_a_group + 127) / 128 * groups * pairs;
  const int64_t clusters = num_processors / 2 > 0 ? num_processors / 2 : 1;
  const int64_t large_time = (large + clusters - 1) / clusters * 2 * 10, small_time = (small + clusters - 1) / clusters * 11;
  return large_time <= small_time ? 256 : 128;
}

// Both need compute capability 9.0, depth % 16 == 0, and for bf16 output a row of the output of a multiple of 8 values (for float32: 2).
// False where the driver refuses the tensor map.
bool LaunchFp8Linear(const Fp8LinearParams& params, cudaStream_t stream);
bool LaunchFp8Wgrad(const Fp8WgradParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
