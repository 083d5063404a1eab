// The load of a mixture's experts: how even it is, and the biases that even it out without a loss (DeepSeek-V3, arXiv 2412.19437, 2.1.2).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace fathom {

// Of one mixture's counts in a step.
struct ExpertLoad {
  double utilisation = 1;    // mean over experts of min(1, load / mean load)
  double max_over_mean = 1;
  double entropy = 1;        // of the shares, over its largest value ln E
};
ExpertLoad LoadOf(const std::vector<int64_t>& counts);

// b += gamma * sign(mean load - load) for each mixture's router biases (e_score_correction_bias); gamma is 0 from freeze_step on (counted from 1;
// negative: never). Models without biases have nothing to control.
class BalanceController {
 public:
  BalanceController(Model& model, double gamma, int64_t freeze_step);
  // counts_E of each mixture, [E] of any integer dtype on the biases' device, in the order of the layers. The host reads nothing.
  void Update(const std::vector<at::Tensor>& counts_E, int64_t step);
  const std::vector<at::Tensor>& biases() const { return biases_; }  // [E] float32 each, views of the model's

 private:
  double gamma_;
  int64_t freeze_step_;
  std::vector<at::Tensor> biases_;
};

}  // namespace fathom
