#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/attention/mla_attention.h's rope_tail: x, y [tokens, heads, dim] packed, the last 2 * half values of a head rotated by cos, sin [tokens, half].
// backward = true applies the transpose.
struct RopeTailParams {
  const void* x = nullptr;
  const float* cos = nullptr;
  const float* sin = nullptr;
  void* y = nullptr;
  int64_t tokens = 0;
  int heads = 0, dim = 0, half = 0;
  bool interleaved = false, backward = false;
  Dtype dtype = Dtype::kF32;
};
void LaunchRopeTail(const RopeTailParams& params, cudaStream_t stream);

// k [tokens, heads, nope + rope] = [the first nope values of kv [tokens, heads, nope + v]; k_rope [tokens, rope]].
struct MlaKeysParams {
  const void* kv = nullptr;
  const void* k_rope = nullptr;
  void* k = nullptr;
  int64_t tokens = 0;
  int heads = 0, nope = 0, rope = 0, v = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchMlaKeys(const MlaKeysParams& params, cudaStream_t stream);

// dkv = [dk's first nope values; dv], dk_rope = sum over heads of dk's others, in float32.
struct MlaKeysBackwardParams {
  const void* dk = nullptr;
  const void* dv = nullptr;
  void* dkv = nullptr;
  void* dk_rope = nullptr;
  int64_t tokens = 0;
  int heads = 0, nope = 0, rope = 0, v = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchMlaKeysBackward(const MlaKeysBackwardParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
