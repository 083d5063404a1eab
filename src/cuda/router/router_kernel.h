#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/router/router.h on raw pointers. logits [tokens, experts] float32, bias [experts] float32 or null; weights, topk_idx [tokens, top_k].
// With replay topk_idx is read, else written.
struct RouteParams {
  const float* logits = nullptr;
  const float* bias = nullptr;
  float* weights = nullptr;
  int32_t* topk_idx = nullptr;
  bool replay = false;
  int64_t tokens = 0;
  int experts = 0, top_k = 0, score_func = 0, n_group = 1, topk_group = 1;
  bool group_top2 = true, norm_topk_prob = true;
  float scaling = 1;
};
void LaunchRoute(const RouteParams& params, cudaStream_t stream);

// ops/router/router.h's route_tokens: the logits are made here from x [tokens, d] and w [experts, d] (float32 or bfloat16); params.logits is not
// read. Hopper; d a multiple of 8, both 16-byte aligned; up to kMostRoutedExperts experts.
inline constexpr int kMostRoutedExperts = 1024;
void LaunchRouteTokens(const RouteParams& params, const void* x, Dtype x_dtype, const void* w, Dtype w_dtype, int d, cudaStream_t stream);

// The gradient of weights in logits: dlogits [tokens, experts].
struct RouteBackwardParams {
  const float* dweights = nullptr;
  const float* logits = nullptr;
  const int32_t* topk_idx = nullptr;
  float* dlogits = nullptr;
  int64_t tokens = 0;
  int experts = 0, top_k = 0, score_func = 0;
  bool norm_topk_prob = true;
  float scaling = 1;
};
void LaunchRouteBackward(const RouteBackwardParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
