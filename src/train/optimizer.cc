#include "train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <map>
#include <tuple>

#include "base/error.h"
#include "ops/adamw/adamw.h"

namespace fathom {

AdamW::AdamW(std::vector<std::pair<std::string, at::Tensor>> leaves, const OptimizerOptions& options) : leaves_(std::move(leaves)), options_(options) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, leaf] : leaves_) {
    const at::TensorOptions moments = leaf.options().dtype(options.moments).requires_grad(false);
    State state{at::zeros(leaf.sizes(), moments), at::zeros(leaf.sizes(), moments), {}};
    if (options.masters && leaf.scalar_type() != at::kFloat) state.master = leaf.detach().to(at::kFloat);
    states_.push_back(std::move(state));
  }
}

void AdamW::Step(const std::vector<at::Tensor>& gradients, const at::Tensor& norm, double lr, int64_t step) {
  FATHOM_CHECK(gradients.size() == leaves_.size(), "{} gradients for {} leaves", gradients.size(), leaves_.size());
  const at::NoGradGuard no_grad;
  // One launch for the tensors of one kind: dtype, gradient's dtype, with a master, with decay.
  std::map<std::tuple<at::ScalarType, at::ScalarType, bool, bool>, ops::AdamWTensors> groups;
  for (size_t i = 0; i < leaves_.size(); ++i) {
    if (!gradients[i].defined()) continue;
    const at::Tensor& leaf = leaves_[i].second;
    State& state = states_[i];
    ops::AdamWTensors& group = groups[{leaf.scalar_type(), gradients[i].scalar_type(), state.master.defined(), leaf.dim() >= 2}];
    group.weights.push_back(leaf.detach());
    group.gradients.push_back(gradients[i].contiguous());
    group.first_moments.push_back(state.first);
    group.second_moments.push_back(state.second);
    if (state.master.defined()) group.masters.push_back(state.master);
  }
  for (const auto& [kind, group] : groups) {
    ops::adamw(group, norm,
               {.lr = lr, .beta1 = options_.beta1, .beta2 = options_.beta2, .eps = options_.eps,
                .weight_decay = std::get<3>(kind) ? options_.weight_decay : 0, .max_norm = options_.clip, .step = step});
  }
}

void AdamW::ForEachState(const std::function<void(const std::string&, at::Tensor&)>& visit) {
  for (size_t i = 0; i < leaves_.size(); ++i) {
    visit("first_moment." + leaves_[i].first, states_[i].first);
    visit("second_moment." + leaves_[i].first, states_[i].second);
    if (states_[i].master.defined()) visit("master." + leaves_[i].first, states_[i].master);
  }
}

}  // namespace fathom
