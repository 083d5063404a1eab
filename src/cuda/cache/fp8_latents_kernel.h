#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/cache/fp8_latents.h on raw pointers; strides in values.
struct StoreFp8LatentsParams {
  void* cache = nullptr;
  const int64_t* slots = nullptr;
  const void* latent = nullptr;  // [tokens, width]
  const void* k_rope = nullptr;  // [tokens, rope]
  int64_t latent_stride = 0, k_rope_stride = 0;
  int tokens = 0, width = 0, rope = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchStoreFp8Latents(const StoreFp8LatentsParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
