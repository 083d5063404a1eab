#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/swiglu/swiglu.h on raw pointers: gate_up [rows, 2 f] packed, y [rows, f].
struct SwigluParams {
  const void* gate_up = nullptr;
  const void* dy = nullptr;  // backward: [rows, f]
  void* out = nullptr;       // y, or backward: the gradient of gate_up
  int64_t rows = 0;
  int f = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchSwiglu(const SwigluParams& params, cudaStream_t stream);
void LaunchSwigluBackward(const SwigluParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
