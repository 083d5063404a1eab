// Weights kept as plain values: float32, bfloat16 or float16.
#pragma once

#include <utility>

#include "model/linear/grouped_linear.h"
#include "model/linear/linear.h"

namespace fathom {

// w [N, K], contiguous. x may be of another dtype than w (the router's float32 rows): the product is then made in x's.
class DenseWeight final : public LinearWeight {
 public:
  explicit DenseWeight(at::Tensor w_NK) : w_(std::move(w_NK)) {}
  int64_t out_features() const override { return w_.size(0); }
  int64_t in_features() const override { return w_.size(1); }
  at::Tensor Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN) const override;
  at::Tensor ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const override;
  at::Tensor TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const override;
  at::Tensor ForwardHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const override;
  at::Tensor TransposedHeads(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const override;
  at::Tensor trainable() const override { return w_; }
  int64_t num_bytes() const override { return static_cast<int64_t>(w_.nbytes()); }

 private:
  at::Tensor w_;
};

// w [E, N, K], contiguous.
class DenseGroupedWeight final : public GroupedWeight {
 public:
  explicit DenseGroupedWeight(at::Tensor w_ENK) : w_(std::move(w_ENK)) {}
  at::Tensor Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN, const at::Tensor& offsets) const override;
  at::Tensor trainable() const override { return w_; }
  int64_t num_bytes() const override { return static_cast<int64_t>(w_.nbytes()); }

 private:
  at::Tensor w_;
};

// x [M, K] w [N, K]^T + bias: up to kMaxLinearRows rows by the kernel whose sums do not depend on the number of rows, more by the library.
at::Tensor DenseProduct(const at::Tensor& x_MK, const at::Tensor& w_NK, const std::optional<at::Tensor>& bias_N);

}  // namespace fathom
