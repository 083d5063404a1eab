#include "model/linear/dense_weight.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>

#include "ops/experts/experts.h"
#include "ops/linear/linear_rows.h"

namespace fathom {
namespace {

at::Tensor InDtypeOf(const at::Tensor& w, const at::Tensor& x) { return w.scalar_type() == x.scalar_type() ? w : w.to(x.scalar_type()); }

bool RowsKernelTakes(const at::Tensor& x_MK, const at::Tensor& w_NK) {
  if (x_MK.size(0) > ops::kMaxLinearRows) return false;
  return x_MK.scalar_type() == w_NK.scalar_type() || (x_MK.scalar_type() == at::kFloat && w_NK.scalar_type() == at::kBFloat16);
}

}  // namespace

at::Tensor DenseProduct(const at::Tensor& x_MK, const at::Tensor& w_NK, const std::optional<at::Tensor>& bias_N) {
  if (RowsKernelTakes(x_MK, w_NK)) return ops::linear_rows(x_MK.contiguous(), w_NK, bias_N);
  std::optional<at::Tensor> bias;
  if (bias_N) bias = InDtypeOf(*bias_N, x_MK);
  return at::linear(x_MK, InDtypeOf(w_NK, x_MK), bias);
}

at::Tensor DenseWeight::Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const { return DenseProduct(x_MK, w_, bias_N); }

at::Tensor DenseWeight::InputGradient(const at::Tensor& dy_MN) const { return at::matmul(dy_MN, InDtypeOf(w_, dy_MN)); }

at::Tensor DenseWeight::ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const {
  return DenseProduct(x_MK, w_.narrow(0, r0, r1 - r0), std::nullopt);
}

at::Tensor DenseWeight::TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const {
  return at::matmul(y_MR, InDtypeOf(w_.narrow(0, r0, r1 - r0), y_MR));
}

at::Tensor DenseWeight::ForwardHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const {
  const at::Tensor w_HRK = w_.view({-1, stride, w_.size(1)}).narrow(1, r0, r1 - r0);
  return at::bmm(x_MHK.transpose(0, 1), InDtypeOf(w_HRK, x_MHK).transpose(1, 2)).transpose(0, 1);
}

at::Tensor DenseWeight::TransposedHeads(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const {
  const at::Tensor w_HRK = w_.view({-1, stride, w_.size(1)}).narrow(1, r0, r1 - r0);
  return at::bmm(y_MHR.transpose(0, 1), InDtypeOf(w_HRK, y_MHR)).transpose(0, 1);
}

at::Tensor DenseGroupedWeight::Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const {
  return ops::grouped_linear(x_MK, w_, offsets);
}

at::Tensor DenseGroupedWeight::InputGradient(const at::Tensor& dy_MN, const at::Tensor& offsets) const {
  return ops::grouped_linear_dgrad(dy_MN, w_, offsets);
}

}  // namespace fathom
