#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// y [tokens, heads, width] packed = [x's `dim` values of the head; zeros]. Everything in units of 16 bytes.
struct WidenHeadsParams {
  const void* x = nullptr;
  void* y = nullptr;
  int64_t tokens = 0, token_stride = 0, head_stride = 0;
  int heads = 0, dim = 0, width = 0;
};
void LaunchWidenHeads(const WidenHeadsParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
