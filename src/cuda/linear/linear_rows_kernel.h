#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/linear/linear_rows.h on raw pointers: x [m, k], w [n, k], bias [n] or null (dtype of w), y [m, n] of x's dtype. m, n >= 1.
struct LinearRowsParams {
  const void* x = nullptr;
  const void* w = nullptr;
  const void* bias = nullptr;
  void* y = nullptr;
  int m = 0, n = 0, k = 0;
  int early_blocks = 0;  // the first blocks of the grid, that many, may ask for their weights before the kernel before has ended
  Dtype x_dtype = Dtype::kF32, w_dtype = Dtype::kF32;
};
void LaunchLinearRows(const LinearRowsParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
