#include "ops/linear/linear_rows.h"

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {

Tensor linear_rows(const Tensor& x_MK, const Tensor& w_NK, const std::optional<Tensor>& bias_N) {
  FATHOM_CHECK(x_MK.dim() == 2 && w_NK.dim() == 2 && x_MK.size(1) == w_NK.size(1),
               "linear_rows: x [M, K] and w [N, K] must agree in K, got {} and {}",
               x_MK.dim() ? x_MK.size(-1) : 0, w_NK.dim() ? w_NK.size(-1) : 0);
  FATHOM_CHECK(x_MK.size(0) <= kMaxLinearRows, "linear_rows: at most {} rows, got {}", kMaxLinearRows, x_MK.size(0));
  FATHOM_CHECK(x_MK.is_contiguous() && w_NK.is_contiguous(), "linear_rows: x and w must be contiguous");
  const at::ScalarType x_dtype = x_MK.scalar_type(), w_dtype = w_NK.scalar_type();
  FATHOM_CHECK(IsFloatDtype(x_dtype) && (x_dtype == w_dtype || (x_dtype == at::kFloat && w_dtype == at::kBFloat16)),
               "linear_rows: no kernel for x of {} and w of {}", c10::toString(x_dtype), c10::toString(w_dtype));
  FATHOM_CHECK(!bias_N || (bias_N->dim() == 1 && bias_N->size(0) == w_NK.size(0) && bias_N->scalar_type() == w_dtype && bias_N->is_contiguous()),
               "linear_rows: bias must be [N] = [{}], contiguous, of w's dtype", w_NK.size(0));
  return LinearRowsOp::Call(x_MK, w_NK, bias_N);
}

}  // namespace fathom::ops
