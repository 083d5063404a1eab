#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/rope/rope.h on raw pointers: x [tokens, heads, dim] with strides of tokens and heads, cos and sin [tokens, dim / 2] float32 packed, y packed.
// backward = true applies the transpose: x is then the gradient of the output, y the gradient of the input.
struct RopeParams {
  const void* x = nullptr;
  const float* cos = nullptr;
  const float* sin = nullptr;
  void* y = nullptr;
  int64_t tokens = 0, x_token_stride = 0, x_head_stride = 0;
  int heads = 0, dim = 0;
  bool interleaved = false, backward = false;
  Dtype dtype = Dtype::kF32;
};
void LaunchRope(const RopeParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
