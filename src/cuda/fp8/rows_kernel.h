#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// fp8_linear_rows and fp8_grouped_rows of ops/fp8/fp8.h on raw pointers: x [rows, k], w e4m3 [experts, n, k], scales [experts, ceil(n / 128), ceil(k / 128)],
// y [rows, n] of x's dtype, bias [n] of x's dtype or null. offsets null: one matrix for all rows.
struct Fp8RowsParams {
  const void* x = nullptr;
  const void* w = nullptr;
  const float* scales = nullptr;
  const void* bias = nullptr;
  void* y = nullptr;
  const int32_t* offsets = nullptr;
  int rows = 0, n = 0, k = 0, experts = 1;
  int early_blocks = 0;  // as LinearRowsParams
  Dtype dtype = Dtype::kF32;
};
void LaunchFp8Rows(const Fp8RowsParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
