#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/norm/norm.h on raw pointers: rows of d values, x_stride (and residual_stride) elements from one to the next; y and sum are packed.
// With residual, x + residual is written to sum and normalised.
struct RmsNormParams {
  const void* x = nullptr;
  const void* residual = nullptr;
  const void* w = nullptr;
  void* y = nullptr;
  void* sum = nullptr;
  int64_t rows = 0, x_stride = 0, residual_stride = 0;
  int d = 0;
  float eps = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchRmsNorm(const RmsNormParams& params, cudaStream_t stream);

// With r = 1 / sqrt(mean x^2 + eps) and g = dy * w: dx = r * (g - x * r^2 * mean(g * x));
// dw[d] = sum over rows of dy * x * r, in float32, by `partial_rows` partial sums of d values in `partial`, then added in order.
struct RmsNormBackwardParams {
  const void* dy = nullptr;
  const void* x = nullptr;
  const void* w = nullptr;
  const void* added = nullptr;  // [rows, d] on top of dx, or null
  void* dx = nullptr;
  float* partial = nullptr;  // [partial_rows, d]
  void* dw = nullptr;
  int64_t rows = 0, x_stride = 0;  // the others are packed
  int d = 0, partial_rows = 0;     // room for so many; fewer may be used
  int shared_bytes = 0;  // shared memory that a block of the device may have
  float eps = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchRmsNormBackward(const RmsNormBackwardParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
