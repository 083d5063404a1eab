#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "cuda/launch.h"
#include "cuda/swiglu/swiglu_kernel.h"

namespace fathom::cuda {
namespace {

SwigluParams MakeParams(const at::Tensor& gate_up, at::Tensor& out) {
  SwigluParams params;
  params.gate_up = gate_up.const_data_ptr();
  params.out = out.mutable_data_ptr();
  params.rows = gate_up.numel() / gate_up.size(-1);
  params.f = static_cast<int>(gate_up.size(-1) / 2);
  params.dtype = DtypeOf(gate_up);
  return params;
}

at::Tensor Swiglu(const at::Tensor& gate_up_TF) {
  const c10::cuda::CUDAGuard guard(gate_up_TF.device());
  const at::Tensor gate_up = gate_up_TF.contiguous();
  auto sizes = gate_up.sizes().vec();
  sizes.back() /= 2;
  at::Tensor y_TF = at::empty(sizes, gate_up.options());
  if (y_TF.numel() == 0) return y_TF;
  LaunchSwiglu(MakeParams(gate_up, y_TF), CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y_TF;
}

at::Tensor SwigluBackward(const at::Tensor& dy_TF, const at::Tensor& gate_up_TF) {
  const c10::cuda::CUDAGuard guard(gate_up_TF.device());
  const at::Tensor gate_up = gate_up_TF.contiguous(), dy = dy_TF.contiguous();
  at::Tensor dgate_up = at::empty(gate_up.sizes(), gate_up.options());
  if (dgate_up.numel() == 0) return dgate_up;
  SwigluParams params = MakeParams(gate_up, dgate_up);
  params.dy = dy.const_data_ptr();
  LaunchSwigluBackward(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return dgate_up;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("swiglu", TORCH_FN(Swiglu));
  m.impl("swiglu_backward", TORCH_FN(SwigluBackward));
}

}  // namespace fathom::cuda
