#include "train/balance_controller.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/sub.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace fathom {

ExpertLoad LoadOf(const std::vector<int64_t>& counts) {
  ExpertLoad load;
  double total = 0, most = 0;
  for (const int64_t count : counts) {
    total += static_cast<double>(count);
    most = std::max(most, static_cast<double>(count));
  }
  if (total == 0) return load;
  const double num_experts = static_cast<double>(counts.size()), mean = total / num_experts;
  double used = 0, entropy = 0;
  for (const int64_t count : counts) {
    used += std::min(1.0, static_cast<double>(count) / mean);
    if (count > 0) entropy -= static_cast<double>(count) / total * std::log(static_cast<double>(count) / total);
  }
  load.utilisation = used / num_experts;
  load.max_over_mean = most / mean;
  load.entropy = counts.size() > 1 ? entropy / std::log(num_experts) : 1;
  return load;
}

BalanceController::BalanceController(Model& model, double gamma, int64_t freeze_step) : gamma_(gamma), freeze_step_(freeze_step) {
  model.ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    if (spec.kind == WeightKind::kRouterBias) biases_.push_back(slot.values);
  });
}

void BalanceController::Update(const std::vector<at::Tensor>& counts_E, int64_t step) {
  if (gamma_ == 0 || biases_.empty() || (freeze_step_ >= 0 && step >= freeze_step_)) return;
  const at::NoGradGuard no_grad;
  FATHOM_CHECK(counts_E.size() <= biases_.size(), "counts of {} mixtures for biases of {}", counts_E.size(), biases_.size());
  for (size_t layer = 0; layer < counts_E.size(); ++layer) {
    if (!counts_E[layer].defined()) continue;  // an MTP module that was not run
    const at::Tensor load_E = counts_E[layer].to(at::kFloat);
    biases_[layer].add_(at::sign(at::sub(load_E.mean(), load_E)), gamma_);
  }
}

}  // namespace fathom
