#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/cache/store_latents.h on raw pointers; strides in values.
struct StoreLatentsParams {
  void* cache = nullptr;  // [slots, latent + rope]
  const int64_t* slots = nullptr;
  const void* kv_a = nullptr;  // [tokens, latent + rope]
  const void* w = nullptr;     // [latent]
  const void* q = nullptr;     // [tokens, heads, rope]
  void* q_out = nullptr;       // packed
  const float* cos = nullptr;  // [tokens, rope / 2]
  const float* sin = nullptr;
  int64_t kv_a_stride = 0, q_token_stride = 0, q_head_stride = 0;
  int tokens = 0, heads = 0, latent = 0, rope = 0;
  float eps = 0;
  bool interleaved = false;
  Dtype dtype = Dtype::kF32;
};
void LaunchStoreLatents(const StoreLatentsParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
