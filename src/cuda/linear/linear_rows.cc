#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <optional>

#include "cuda/launch.h"
#include "cuda/linear/linear_rows_kernel.h"

namespace fathom::cuda {
namespace {

at::Tensor LinearRows(const at::Tensor& x_MK, const at::Tensor& w_NK, const std::optional<at::Tensor>& bias_N) {
  const c10::cuda::CUDAGuard guard(x_MK.device());
  const at::Tensor x = x_MK.contiguous(), w = w_NK.contiguous();
  const at::Tensor bias = bias_N ? bias_N->contiguous() : at::Tensor();
  at::Tensor y_MN = at::empty({x.size(0), w.size(0)}, x.options());
  if (y_MN.numel() == 0) return y_MN;
  LinearRowsParams params;
  params.x = x.const_data_ptr();
  params.w = w.const_data_ptr();
  params.bias = bias.defined() ? bias.const_data_ptr() : nullptr;
  params.y = y_MN.mutable_data_ptr();
  params.m = static_cast<int>(x.size(0));
  params.n = static_cast<int>(w.size(0));
  params.k = static_cast<int>(x.size(1));
  params.early_blocks = 2 * NumProcessors();
  params.x_dtype = DtypeOf(x);
  params.w_dtype = DtypeOf(w);
  LaunchLinearRows(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y_MN;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) { m.impl("linear_rows", TORCH_FN(LinearRows)); }

}  // namespace fathom::cuda
