// Legend: T tokens, K chosen experts, E experts, M = T * K choices.
#include "model/capacity_dispatcher.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/lt.h>

#include <algorithm>
#include <cmath>

#include "ops/balance/balance.h"

namespace fathom {

int64_t ExpertCapacity(double factor, int64_t num_tokens, int64_t top_k, int64_t num_experts) {
  const double even = static_cast<double>(num_tokens * top_k) / static_cast<double>(num_experts);
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(factor * even)));
}

at::Tensor KeptChoices(const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, int64_t num_experts, int64_t capacity) {
  const at::Tensor experts_M = topk_idx_TK.flatten().to(at::kLong);
  // Sorted by expert, and within one by falling weight: a choice's place behind its expert's first is its rank.
  const at::Tensor by_weight_M = at::argsort(weights_TK.detach().flatten(), /*stable=*/true, /*dim=*/0, /*descending=*/true);
  const at::Tensor by_expert_M = at::argsort(experts_M.index_select(0, by_weight_M), /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor order_M = by_weight_M.index_select(0, by_expert_M);
  const at::Tensor counts_E = ops::count_choices(topk_idx_TK, num_experts).to(at::kLong);
  const at::Tensor first_E = counts_E.cumsum(0).sub(counts_E);
  const at::Tensor rank_M = at::arange(experts_M.numel(), experts_M.options()).sub(first_E.index_select(0, experts_M.index_select(0, order_M)));
  const at::Tensor is_kept_M = at::lt(rank_M, capacity);
  return at::empty_like(is_kept_M).scatter_(0, order_M, is_kept_M).view_as(topk_idx_TK);
}

at::Tensor CapacityDispatcher::Run(const at::Tensor& x_TD, const at::Tensor& topk_idx_TK, const at::Tensor& weights_TK, int64_t num_experts,
                                   const ExpertFunction& experts) const {
  const at::Tensor is_kept_TK = KeptChoices(weights_TK, topk_idx_TK, num_experts, ExpertCapacity(factor_, topk_idx_TK.size(0), topk_idx_TK.size(1), num_experts));
  if (counts_) dropped_.push_back(is_kept_TK.logical_not().sum());
  return LocalDispatcher().Run(x_TD, topk_idx_TK, weights_TK.mul(is_kept_TK), num_experts, experts);
}

}  // namespace fathom
