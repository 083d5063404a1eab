// Activation recompute: what a function computes is thrown away and made again in the backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace fathom {

using TensorFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

// run(inputs), keeping only the inputs for the backward, which calls run again with the random state of the first time (of the CPU and of the inputs'
// device), then goes through it: gradients of the inputs, and of every leaf that run uses, are equal to the bit to those without recompute where run's
// arithmetic is. At least one input must require a gradient, else run's own leaves get none. `run` must be callable until the backward is over, and
// gives the same number of tensors each time. A WeightGradScope of the first time is in force again. Under no-grad it is run(inputs).
std::vector<at::Tensor> Recompute(const TensorFunction& run, const std::vector<at::Tensor>& inputs);

// How a backward makes a tensor that was not kept: make(inputs), without a graph.
struct Remake {
  std::function<at::Tensor(const std::vector<at::Tensor>&)> make;
  std::vector<at::Tensor> inputs;
};
// A tensor, and how to have it again: what takes one keeps `again.inputs` for its backward instead of `value`.
struct Remade {
  at::Tensor value;
  Remake again;
};

}  // namespace fathom
