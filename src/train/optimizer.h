// The optimizer's state over a model's leaves, and its step.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "train/muon.h"

namespace fathom {

enum class OptimizerKind {
  kAdamW,
  kMuon,  // of the matrices that train/muon.h lists; AdamW of everything else
};

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double momentum = 0.95;     // Muon's
  double weight_decay = 0.1;  // of matrices; norms, biases and scalars have none
  double clip = 1.0;          // largest global norm of the gradients; 0: none
  at::ScalarType moments = at::kFloat;  // float32 or bfloat16
  bool masters = true;        // float32 copies of weights that are kept in 16 bits
};

class Optimizer {
 public:
  // Over the model's TrainableLeaves. Moments begin as zeros, masters as the leaves' values.
  Optimizer(Model& model, const OptimizerOptions& options);

  // One step from the gradients (an undefined one leaves its tensor as it is); `norm` as ops/adamw/adamw.h says. step counts from 1.
  void Step(const std::vector<at::Tensor>& gradients, const at::Tensor& norm, double lr, int64_t step);

  const std::vector<std::pair<std::string, at::Tensor>>& leaves() const { return leaves_; }
  // The value that a leaf stands for: its master, or itself.
  const at::Tensor& ValuesOf(size_t leaf) const { return states_[leaf].master.defined() ? states_[leaf].master : leaves_[leaf].second; }
  // Visits every tensor of the state under a name of its own: "first_moment." + leaf (AdamW's, or Muon's momentum), "second_moment." + leaf, "master." + leaf.
  void ForEachState(const std::function<void(const std::string&, at::Tensor&)>& visit);

 private:
  struct State {
    at::Tensor first, second, master;  // second undefined in Muon, master without one
    std::vector<LeafMatrix> matrices;  // of a leaf that Muon writes
  };
  std::vector<std::pair<std::string, at::Tensor>> leaves_;
  std::vector<State> states_;
  OptimizerOptions options_;
};

OptimizerKind ParseOptimizerKind(const std::string& text, const std::string& what);

}  // namespace fathom
