#include "train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <map>
#include <tuple>

#include "base/error.h"
#include "ops/adamw/adamw.h"

namespace fathom {

Optimizer::Optimizer(Model& model, const OptimizerOptions& options) : leaves_(model.TrainableLeaves()), states_(leaves_.size()), options_(options) {
  const at::NoGradGuard no_grad;
  if (options.kind == OptimizerKind::kMuon) {
    for (const LeafMatrix& matrix : ListMatrices(model)) states_[matrix.leaf].matrices.push_back(matrix);
  }
  for (size_t i = 0; i < leaves_.size(); ++i) {
    const at::Tensor& leaf = leaves_[i].second;
    const at::TensorOptions moments = leaf.options().dtype(options.moments).requires_grad(false);
    states_[i].first = at::zeros(leaf.sizes(), moments);
    if (states_[i].matrices.empty()) states_[i].second = at::zeros(leaf.sizes(), moments);
    if (options.masters && leaf.scalar_type() != at::kFloat) states_[i].master = leaf.detach().to(at::kFloat);
  }
}

void Optimizer::Step(const std::vector<at::Tensor>& gradients, const at::Tensor& norm, double lr, int64_t step) {
  FATHOM_CHECK(gradients.size() == leaves_.size(), "{} gradients for {} leaves", gradients.size(), leaves_.size());
  const at::NoGradGuard no_grad;
  std::vector<MuonLeaf> muon;
  // One launch for the tensors of one kind: dtype, gradient's dtype, with a master, with decay.
  std::map<std::tuple<at::ScalarType, at::ScalarType, bool, bool>, ops::AdamWTensors> groups;
  for (size_t i = 0; i < leaves_.size(); ++i) {
    if (!gradients[i].defined()) continue;
    const at::Tensor& leaf = leaves_[i].second;
    State& state = states_[i];
    if (!state.matrices.empty()) {
      muon.push_back({leaf.detach(), gradients[i], state.first, state.master, state.matrices});
      continue;
    }
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
  if (!muon.empty()) MuonStep(muon, norm, {.momentum = options_.momentum, .weight_decay = options_.weight_decay, .lr = lr, .max_norm = options_.clip});
}

void Optimizer::ForEachState(const std::function<void(const std::string&, at::Tensor&)>& visit) {
  for (size_t i = 0; i < leaves_.size(); ++i) {
    visit("first_moment." + leaves_[i].first, states_[i].first);
    if (states_[i].second.defined()) visit("second_moment." + leaves_[i].first, states_[i].second);
    if (states_[i].master.defined()) visit("master." + leaves_[i].first, states_[i].master);
  }
}

OptimizerKind ParseOptimizerKind(const std::string& text, const std::string& what) {
  if (text == "adamw") return OptimizerKind::kAdamW;
  if (text == "muon") return OptimizerKind::kMuon;
  ThrowUserError("{} must be adamw or muon, got '{}'", what, text);
}

}  // namespace fathom
