// The optimizer's state over a model's leaves, and its step.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace fathom {

struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;  // of matrices; norms, biases and scalars have none
  double clip = 1.0;          // largest global norm of the gradients; 0: none
  at::ScalarType moments = at::kFloat;  // float32 or bfloat16
  bool masters = true;        // float32 copies of weights that are kept in 16 bits
};

class AdamW {
 public:
  // leaves: (name, tensor). Moments begin as zeros, masters as the leaves' values.
  AdamW(std::vector<std::pair<std::string, at::Tensor>> leaves, const OptimizerOptions& options);

  // One step from the gradients (an undefined one leaves its tensor as it is); `norm` as ops/adamw/adamw.h says. step counts from 1.
  void Step(const std::vector<at::Tensor>& gradients, const at::Tensor& norm, double lr, int64_t step);

  const std::vector<std::pair<std::string, at::Tensor>>& leaves() const { return leaves_; }
  // Visits every tensor of the state under a name of its own: "first_moment." + leaf, "second_moment." + leaf, "master." + leaf.
  void ForEachState(const std::function<void(const std::string&, at::Tensor&)>& visit);

 private:
  struct State {
    at::Tensor first, second, master;  // master undefined without one
  };
  std::vector<std::pair<std::string, at::Tensor>> leaves_;
  std::vector<State> states_;
  OptimizerOptions options_;
};

}  // namespace fathom
