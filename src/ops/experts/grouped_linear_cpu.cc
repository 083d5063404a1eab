#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "ops/library.h"
#include "ops/linear/linear_rows.h"

namespace fathom::ops {
namespace {

// Calls f(expert, first row, number of rows) for each expert that has rows.
template <typename F>
void ForEachGroup(const Tensor& offsets, int64_t num_rows, const F& f) {
  const Tensor host = offsets.contiguous();
  const int32_t* op = host.const_data_ptr<int32_t>();
  for (int64_t e = 0; e + 1 < host.numel(); ++e) {
    FATHOM_CHECK(op[e] >= 0 && op[e] <= op[e + 1] && op[e + 1] <= num_rows, "grouped_linear: offsets of expert {} are {} .. {} of {} rows", e, op[e],
                 op[e + 1], num_rows);
    if (op[e] < op[e + 1]) f(e, op[e], op[e + 1] - op[e]);
  }
}

Tensor GroupedLinearCpu(const Tensor& x, const Tensor& w, const Tensor& offsets) {
  Tensor y = at::empty({x.size(0), w.size(1)}, x.options());
  ForEachGroup(offsets, x.size(0), [&](int64_t e, int64_t begin, int64_t rows) {
    Tensor out = y.narrow(0, begin, rows);
    if (rows <= kMaxLinearRows) {
      out.copy_(LinearRowsOp::CallBelowAutograd(x.narrow(0, begin, rows), w.select(0, e), std::nullopt));
    } else {
      at::mm_out(out, x.narrow(0, begin, rows), w.select(0, e).t());
    }
  });
  return y;
}

Tensor GroupedLinearDgradCpu(const Tensor& dy, const Tensor& w, const Tensor& offsets) {
  Tensor dx = at::empty({dy.size(0), w.size(2)}, dy.options());
  ForEachGroup(offsets, dy.size(0), [&](int64_t e, int64_t begin, int64_t rows) {
    Tensor out = dx.narrow(0, begin, rows);
    at::mm_out(out, dy.narrow(0, begin, rows), w.select(0, e));
  });
  return dx;
}

Tensor GroupedLinearWgradCpu(const Tensor& dy, const Tensor& x, const Tensor& offsets) {
  Tensor dw = at::zeros({offsets.size(0) - 1, dy.size(1), x.size(1)}, x.options());
  ForEachGroup(offsets, dy.size(0), [&](int64_t e, int64_t begin, int64_t rows) {
    Tensor out = dw.select(0, e);
    at::mm_out(out, dy.narrow(0, begin, rows).t(), x.narrow(0, begin, rows));
  });
  return dw;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("grouped_linear", TORCH_FN(GroupedLinearCpu));
  m.impl("grouped_linear_dgrad", TORCH_FN(GroupedLinearDgradCpu));
  m.impl("grouped_linear_wgrad", TORCH_FN(GroupedLinearWgradCpu));
}

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("grouped_linear", TORCH_FN(GroupedLinearOp::NotDifferentiable));
  m.impl("grouped_linear_dgrad", TORCH_FN(GroupedLinearDgradOp::NotDifferentiable));
  m.impl("grouped_linear_wgrad", TORCH_FN(GroupedLinearWgradOp::NotDifferentiable));
}

}  // namespace fathom::ops
