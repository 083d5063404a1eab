// A dispatcher with a limit on the tokens that an expert takes: what a mixture drops where too many choose the same one (V3 drops none; V2 drops in training,
// those with the least affinity first: arXiv 2405.04434, 2.2.4).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/token_dispatcher.h"

namespace fathom {

// ceil(factor * T * K / E), at least 1.
int64_t ExpertCapacity(double factor, int64_t num_tokens, int64_t top_k, int64_t num_experts);

// Of the choices topk_idx [T, K] int32 of each expert the `capacity` with the largest weights [T, K] stay (among equals the earlier ones): [T, K] bool. No size
// depends on data and the host reads nothing.
at::Tensor KeptChoices(const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, int64_t num_experts, int64_t capacity);

// Every expert is here, and takes at most ExpertCapacity tokens of a call: the others' choices of it weigh nothing. The sum is not renormalised.
class CapacityDispatcher final : public TokenDispatcher {
 public:
  explicit CapacityDispatcher(double factor) : factor_(factor) {}
  at::Tensor Run(const at::Tensor& x_TD, const at::Tensor& topk_idx_TK, const at::Tensor& weights_TK, int64_t num_experts,
                 const ExpertFunction& experts) const override;

  // Choices that each call dropped, in their order, [] int64 on the device, until StopCounting: layers that the backward runs again are not counted twice.
  const std::vector<at::Tensor>& dropped() const { return dropped_; }
  void StopCounting() { counts_ = false; }

 private:
  double factor_;
  bool counts_ = true;
  mutable std::vector<at::Tensor> dropped_;
};

}  // namespace fathom
