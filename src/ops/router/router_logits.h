// The router's logits in training.
#pragma once

#include <ATen/core/Tensor.h>

namespace fathom::ops {

// logits = x w^T, [T, E] float32, of x [T, D] and w [E, D] in one dtype: products of the values as they are, summed in float32. The gradient of the logits
// is used with the 16 leading bits of its mantissa (as two bfloat16 values) where x is bfloat16 on CUDA, else in float32. Differentiable in x and w.
at::Tensor router_logits(const at::Tensor& x_TD, const at::Tensor& w_ED);

}  // namespace fathom::ops
