#include "model/linear/ggml_weight.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace fathom {
namespace {

// Values that are expanded at a time: most matrices of a small model whole, so that their product is one call.
constexpr int64_t kValuesAtOnce = 4 << 20;
// The library makes code for every number of rows that it has not met and keeps it, up to a thousand products: a server that meets all of them would pay
// milliseconds and megabytes for each. So the rows are filled up.
constexpr int64_t kRowMultiple = 32;

at::Tensor FillUp(const at::Tensor& x_MK) {
  const int64_t M = x_MK.size(0), filled = (M + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  if (filled == M) return x_MK;
  at::Tensor x_FK = at::zeros({filled, x_MK.size(1)}, x_MK.options());
  x_FK.narrow(0, 0, M).copy_(x_MK);
  return x_FK;
}

}  // namespace

int64_t GgmlWeight::RowsAtOnce() const { return std::max<int64_t>(64, kValuesAtOnce / std::max<int64_t>(1, in_features()) / 64 * 64); }

at::Tensor GgmlWeight::Expand(int64_t r0, int64_t r1, at::ScalarType dtype) const {
  return ops::ggml_expand(blocks_.narrow(0, r0, r1 - r0), format_).to(dtype);
}

at::Tensor GgmlWeight::Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const {
  at::Tensor y_MN = ForwardRows(x_MK, 0, out_features());
  if (bias_N) y_MN.add_(*bias_N);
  return y_MN;
}

at::Tensor GgmlWeight::InputGradient(const at::Tensor& dy_MN) const { return TransposedRows(dy_MN, 0, out_features()); }

at::Tensor GgmlWeight::ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const {
  const at::ScalarType dtype = x_MK.scalar_type();
  if (x_MK.size(0) <= ops::kMaxLinearRows && (dtype == at::kBFloat16 || dtype == at::kFloat)) {
    return ops::ggml_linear_rows(x_MK.contiguous(), blocks_.narrow(0, r0, r1 - r0), format_);
  }
  const int64_t step = RowsAtOnce(), M = x_MK.size(0);
  const at::Tensor x_FK = FillUp(x_MK);
  if (r1 - r0 <= step) return at::linear(x_FK, Expand(r0, r1, dtype)).narrow(0, 0, M);
  at::Tensor y_MR = at::empty({x_MK.size(0), r1 - r0}, x_MK.options());
  for (int64_t r = r0; r < r1; r += step) {
    const int64_t end = std::min(r + step, r1);
    y_MR.narrow(1, r - r0, end - r).copy_(at::linear(x_FK, Expand(r, end, dtype)).narrow(0, 0, M));
  }
  return y_MR;
}

at::Tensor GgmlWeight::TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const {
  at::Tensor x_MK = at::zeros({y_MR.size(0), in_features()}, y_MR.options().dtype(at::kFloat));
  const int64_t step = RowsAtOnce();
  for (int64_t r = r0; r < r1; r += step) {
    const int64_t end = std::min(r + step, r1);
    x_MK.add_(at::matmul(y_MR.narrow(1, r - r0, end - r), Expand(r, end, y_MR.scalar_type())));
  }
  return x_MK.to(y_MR.scalar_type());
}

at::Tensor GgmlWeight::Embed(const at::Tensor& tokens_T) const { return ops::ggml_expand(at::index_select(blocks_, 0, tokens_T), format_); }

}  // namespace fathom
