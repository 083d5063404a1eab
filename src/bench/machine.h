// The limits of this machine, measured: what a speed is compared with.
#pragma once

#include <ATen/core/Tensor.h>

namespace fathom {

// GB/s (10^9 bytes) at which `threads` threads read memory that no cache holds: 512 MB, best of several passes.
double MeasureReadBandwidth(int threads);

// GFLOP/s of LibTorch's product of two square matrices of `dtype` on the CPU with `threads` threads, best of several. The number of
// threads of LibTorch is what it was before when the call returns.
double MeasureMatrixRate(int threads, at::ScalarType dtype);

// What `device` can do at most, measured now.
struct MachineLimits {
  double memory_gb_per_s = 0;      // 10^9 bytes: the CPU's threads reading, or a CUDA device copying (read and written bytes together)
  double matrix_gflop_per_s = 0;   // LibTorch's product: 1536^3 on the CPU with its threads, 8192^3 on a CUDA device
};
MachineLimits MeasureLimits(at::Device device, at::ScalarType dtype);

}  // namespace fathom
