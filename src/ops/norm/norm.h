// Root-mean-square normalisation, alone and joined with the residual addition before it.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace fathom::ops {

// y[t, d] = w[d] * (x[t, d] / sqrt(mean_d x[t, d]^2 + eps)); statistics in float32, the normalised value is rounded to x's dtype before
// the product with w, as transformers' Llama/DeepSeek RMSNorm does. x [..., D] (last dim contiguous), w [D]. f32, bf16, f16. Differentiable.
at::Tensor rms_norm(const at::Tensor& x_TD, const at::Tensor& w_D, double eps);

// sum = x + residual; returns (rms_norm(sum, w, eps), sum). Differentiable in both outputs.
std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& w_D, double eps);

}  // namespace fathom::ops
