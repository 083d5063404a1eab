#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/cpu/dtype.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/parallel_rows.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kSwigluGrainValues = 8192;

void Run(const SwigluArgs& args, int64_t T, at::ScalarType dtype) {
  const auto kernel = Kernels().swiglu[KernelDtypeOf(dtype)];
  ParallelRows(T, std::max<int64_t>(1, kSwigluGrainValues / std::max<int64_t>(1, args.F)), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

Tensor SwigluCpu(const Tensor& gate_up) {
  const int64_t T = gate_up.size(0), F = gate_up.size(1) / 2;
  Tensor y = at::empty({T, F}, gate_up.options());
  Run({.gate_up = gate_up.const_data_ptr(), .dy = nullptr, .out = y.mutable_data_ptr(), .F = F}, T, gate_up.scalar_type());
  return y;
}

Tensor SwigluBackwardCpu(const Tensor& dy, const Tensor& gate_up) {
  const int64_t T = gate_up.size(0), F = gate_up.size(1) / 2;
  Tensor dgate_up = at::empty({T, 2 * F}, gate_up.options());
  const Tensor grad = dy.contiguous();
  if (F == 0) return dgate_up;
  Run({.gate_up = gate_up.const_data_ptr(), .dy = grad.const_data_ptr(), .out = dgate_up.mutable_data_ptr(), .F = F}, T, gate_up.scalar_type());
  return dgate_up;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("swiglu", TORCH_FN(SwigluCpu));
  m.impl("swiglu_backward", TORCH_FN(SwigluBackwardCpu));
}

}  // namespace fathom::ops
