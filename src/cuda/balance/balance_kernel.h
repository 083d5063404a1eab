#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

void LaunchCountChoices(const int32_t* topk_idx, int64_t choices, int experts, int32_t* counts, cudaStream_t stream);  // counts: zeros on entry

// ops/balance/balance.h on raw pointers: logits [tokens, experts]; f, p [groups, experts]; partial [groups, kBalanceParts, 2, experts] scratch.
inline constexpr int kBalanceParts = 16;
struct BalanceParams {
  const float* logits = nullptr;
  const int32_t* topk_idx = nullptr;
  const int32_t* cu = nullptr;
  float* f = nullptr;
  float* p = nullptr;
  float* partial = nullptr;
  int groups = 0, experts = 0, top_k = 0, score_func = 0;
};
void LaunchBalanceTerms(const BalanceParams& params, cudaStream_t stream);

struct BalanceBackwardParams {
  const float* logits = nullptr;
  const float* f = nullptr;
  const int32_t* cu = nullptr;
  const float* scale = nullptr;
  float* dlogits = nullptr;
  int64_t tokens = 0;
  int groups = 0, experts = 0, score_func = 0;
};
void LaunchBalanceBackward(const BalanceBackwardParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
