// RMSNorm as its definition has it, in float64.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/rsqrt.h>

namespace fathom::ops {

// x_d / sqrt(mean_d(x_d^2) + eps) * w_d.
inline at::Tensor RmsNorm64(const at::Tensor& x, const at::Tensor& w, double eps) {
  const at::Tensor x64 = x.to(at::kDouble);
  return x64.mul(x64.mul(x64).mean(-1, true).add(eps).rsqrt()).mul(w.to(at::kDouble));
}

}  // namespace fathom::ops
