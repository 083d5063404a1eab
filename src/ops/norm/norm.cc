#include "ops/norm/norm.h"

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

void CheckWeight(const char* op, const Tensor& x, const Tensor& w) {
  FATHOM_CHECK(x.dim() >= 1 && w.dim() == 1 && w.size(0) == x.size(-1), "{}: x [..., D] and w [D] must agree, got D = {} and {} values of w",
               op, x.dim() ? x.size(-1) : 0, w.numel());
  FATHOM_CHECK(IsFloatDtype(x.scalar_type()) && x.scalar_type() == w.scalar_type(), "{}: x is {}, w is {}; they must be one float dtype", op,
               c10::toString(x.scalar_type()), c10::toString(w.scalar_type()));
}

// The kernels see [T, D] with contiguous rows at any row stride.
Tensor AsRows(const Tensor& x) {
  if (x.dim() == 2 && x.stride(1) == 1) return x;
  return x.contiguous().view({-1, x.size(-1)});
}

}  // namespace

Tensor rms_norm(const Tensor& x_TD, const Tensor& w_D, double eps) {
  CheckWeight("rms_norm", x_TD, w_D);
  if (x_TD.dim() == 2 && x_TD.stride(1) == 1) return RmsNormOp::Call(x_TD, w_D, eps);
  if (x_TD.size(-1) == 0) return x_TD.clone();
  return RmsNormOp::Call(AsRows(x_TD), w_D, eps).view(x_TD.sizes());
}

std::tuple<Tensor, Tensor> add_rms_norm(const Tensor& x_TD, const Tensor& residual_TD, const Tensor& w_D, double eps) {
  CheckWeight("add_rms_norm", x_TD, w_D);
  FATHOM_CHECK(x_TD.sizes() == residual_TD.sizes() && x_TD.scalar_type() == residual_TD.scalar_type(),
               "add_rms_norm: x and residual must have one shape and dtype, got {} and {} values", x_TD.numel(), residual_TD.numel());
  if (x_TD.dim() == 2 && x_TD.stride(1) == 1 && residual_TD.stride(1) == 1) return AddRmsNormOp::Call(x_TD, residual_TD, w_D, eps);
  auto [y, sum] = AddRmsNormOp::Call(AsRows(x_TD), AsRows(residual_TD), w_D, eps);
  return {y.view(x_TD.sizes()), sum.view(x_TD.sizes())};
}

}  // namespace fathom::ops
