#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// fp8_quantize of ops/fp8/fp8.h on raw pointers. x: rows of k values, x_stride elements apart. A null output is not made.
struct Fp8QuantizeParams {
  const void* x = nullptr;
  int64_t x_stride = 0;
  void* row_values = nullptr;       // [rows, k]
  float* row_scales = nullptr;      // [ceil(k / 128), rows]
  void* column_values = nullptr;    // [blocks, k, 128]
  float* column_scales = nullptr;   // [blocks, k]
  const int32_t* offsets = nullptr;  // [groups + 1]; null: blocks of 128 rows from the first on
  int rows = 0, k = 0, groups = 1, blocks = 0;
  bool power_of_two = false;
  Dtype dtype = Dtype::kF32;
};
void LaunchFp8Quantize(const Fp8QuantizeParams& params, cudaStream_t stream);

// fp8_quantize_weight.
struct Fp8QuantizeWeightParams {
  const void* w = nullptr;             // [experts, n, k]
  void* values = nullptr;              // [experts, n, k]
  float* scales = nullptr;             // [experts, ceil(n / 128), ceil(k / 128)]
  void* transposed = nullptr;          // [experts, k, n]
  float* transposed_scales = nullptr;  // [experts, ceil(k / 128), ceil(n / 128)]
  int experts = 0, n = 0, k = 0;
  bool power_of_two = false;
  Dtype dtype = Dtype::kF32;
};
void LaunchFp8QuantizeWeight(const Fp8QuantizeWeightParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
