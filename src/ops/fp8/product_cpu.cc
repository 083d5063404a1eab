#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/fp8/by_expansion.h"

namespace fathom::ops {
namespace {

constexpr int64_t kRowsAtOnce = 4 * kFp8Block;

Tensor Fp8LinearCpu(const Tensor& x, const Tensor& x_scales, const Tensor& w, const Tensor& w_scales, const OptionalTensor& offsets, at::ScalarType dtype) {
  return Fp8LinearByExpansion(x, x_scales, w, w_scales, offsets, dtype, at::kFloat);
}

Tensor Fp8WgradCpu(const Tensor& dy, const Tensor& dy_scales, const Tensor& x, const Tensor& x_scales, const OptionalTensor& offsets, int64_t num_rows,
                at::ScalarType dtype) {
  return Fp8WgradByExpansion(dy, dy_scales, x, x_scales, offsets, num_rows, dtype, at::kFloat);
}

// y[:, n0 ..] of up to kMaxLinearRows rows, a few blocks of the weight expanded at a time.
void MultiplyRows(const Tensor& x_MK, const Tensor& w_NK, const Tensor& scales, Tensor y_MN) {
  const Tensor x = x_MK.to(at::kFloat);
  for (int64_t n = 0; n < w_NK.size(0); n += kRowsAtOnce) {
    const int64_t rows = std::min(kRowsAtOnce, w_NK.size(0) - n), blocks = (rows + kFp8Block - 1) / kFp8Block;
    const Fp8Blocks part{w_NK.narrow(0, n, rows).unsqueeze(0), scales.narrow(0, n / kFp8Block, blocks).unsqueeze(0)};
    y_MN.narrow(1, n, rows).copy_(LinearRowsOp::CallBelowAutograd(x, fp8_expand(part, at::kFloat).squeeze(0), std::nullopt));
  }
}

Tensor Fp8LinearRowsCpu(const Tensor& x, const Tensor& w, const Tensor& w_scales, const OptionalTensor& bias) {
  Tensor y = at::empty({x.size(0), w.size(1)}, x.options().dtype(at::kFloat));
  if (y.numel() > 0) MultiplyRows(x, w.select(0, 0), w_scales.select(0, 0), y);
  if (bias) y.add_(*bias);
  return y.to(x.scalar_type());
}

Tensor Fp8GroupedRowsCpu(const Tensor& x, const Tensor& w, const Tensor& w_scales, const Tensor& offsets) {
  Tensor y = at::empty({x.size(0), w.size(1)}, x.options().dtype(at::kFloat));
  const int32_t* limits = offsets.const_data_ptr<int32_t>();
  for (int64_t e = 0; e < w.size(0); ++e) {
    for (int64_t row = limits[e]; row < limits[e + 1]; row += 16) {
      const int64_t rows = std::min<int64_t>(16, limits[e + 1] - row);
      MultiplyRows(x.narrow(0, row, rows), w.select(0, e), w_scales.select(0, e), y.narrow(0, row, rows));
    }
  }
  return y.to(x.scalar_type());
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("fp8_linear", TORCH_FN(Fp8LinearCpu));
  m.impl("fp8_wgrad", TORCH_FN(Fp8WgradCpu));
  m.impl("fp8_linear_rows", TORCH_FN(Fp8LinearRowsCpu));
  m.impl("fp8_grouped_rows", TORCH_FN(Fp8GroupedRowsCpu));
}

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("fp8_linear", TORCH_FN(Fp8LinearOp::NotDifferentiable));
  m.impl("fp8_wgrad", TORCH_FN(Fp8WgradOp::NotDifferentiable));
  m.impl("fp8_linear_rows", TORCH_FN(Fp8LinearRowsOp::NotDifferentiable));
  m.impl("fp8_grouped_rows", TORCH_FN(Fp8GroupedRowsOp::NotDifferentiable));
}

}  // namespace fathom::ops
