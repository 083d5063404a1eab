// An exponential moving average of the weights in host memory (DeepSeek-V3, arXiv 2412.19437, 3.2.3): what a run's model would be with its learning rate decayed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <future>
#include <vector>

#include "train/optimizer.h"

namespace fathom {

class WeightAverage {
 public:
  // Begins as the leaves' values (their masters where they have one). decay in [0, 1), of one update.
  WeightAverage(const Optimizer& optimizer, double decay);
  ~WeightAverage() { Wait(); }
  WeightAverage(const WeightAverage&) = delete;
  WeightAverage& operator=(const WeightAverage&) = delete;

  // a = decay a + (1 - decay) w. The values of a GPU are copied before it returns, and averaged on a thread of its own.
  void Update(const Optimizer& optimizer);
  // A float32 tensor on the CPU for each leaf, when the last update is in it.
  std::vector<at::Tensor>& values();

 private:
  void Wait();
  double decay_;
  std::vector<at::Tensor> values_, staged_;  // staged: page-locked copies of a GPU's values
  std::future<void> averaging_;
};

}  // namespace fathom
