// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over many tensors at once, and the gradients' global norm.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace fathom::ops {

struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;  // decoupled: w -= lr * weight_decay * w
  double max_norm = 0;        // gradients are scaled by min(1, max_norm / (norm + 1e-6)); 0: as they are
  int64_t step = 1;           // counted from 1: the bias correction
};

// Tensors of one dtype each: weights float32, bfloat16 or float16; gradients of that dtype or float32; moments float32 or bfloat16.
// masters: float32 copies that the update is computed on, the weights are then their rounding; empty: the weights alone.
struct AdamWTensors {
  std::vector<at::Tensor> weights, gradients, first_moments, second_moments, masters;
};

// sqrt(sum of squares) over all gradients, [1] float32 on their device. The order of sums depends on the sizes alone.
at::Tensor gradient_norm(const std::vector<at::Tensor>& gradients);

// With g the clipped gradient:  m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
//   w = w (1 - lr weight_decay) - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps).
// Arithmetic in float32. `norm` is gradient_norm's: where it is not finite nothing is written. The host reads nothing.
void adamw(const AdamWTensors& tensors, const at::Tensor& norm, const AdamWOptions& options);

}  // namespace fathom::ops
