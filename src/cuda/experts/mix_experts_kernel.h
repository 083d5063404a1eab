#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/experts/mix_experts.h on raw pointers, in two launches: inner = swiglu of gate_up, then down with the weighted sum. 16-bit dtypes; d, f and s
// multiples of 8, everything 16-byte aligned.
struct MixExpertsParams {
  const void* x = nullptr;            // [tokens, d]
  const float* weights = nullptr;     // [tokens, top_k]
  const int32_t* topk_idx = nullptr;  // [tokens, top_k]
  const void* gate_up = nullptr;      // [experts, 2 f, d]
  const void* down = nullptr;         // [experts, d, f]
  const void* shared_gate_up = nullptr;  // [2 s, d]; unused with s = 0
  const void* shared_down = nullptr;     // [d, s]
  void* inner = nullptr;         // [tokens * top_k, f], scratch
  void* shared_inner = nullptr;  // [tokens, s], scratch
  void* y = nullptr;             // [tokens, d]
  int tokens = 0, top_k = 0, experts = 0, d = 0, f = 0, s = 0;
  Dtype dtype = Dtype::kBf16;
};
void LaunchMixExperts(const MixExpertsParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
