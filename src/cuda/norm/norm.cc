#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "cuda/launch.h"
#include "cuda/norm/norm_kernel.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

// The tensor as rows whose last dim is contiguous: as it is where it is [rows, d] already, else packed.
Tensor AsRows(const Tensor& x) {
  if (x.dim() == 2 && x.stride(1) == 1) return x;
  return x.contiguous().view({-1, x.size(-1)});
}

std::tuple<Tensor, Tensor> Normalise(const Tensor& x, const Tensor* residual, const Tensor& w, double eps) {
  const c10::cuda::CUDAGuard guard(x.device());
  Tensor y = at::empty(x.sizes(), x.options());
  Tensor sum = residual == nullptr ? Tensor() : at::empty(x.sizes(), x.options());
  if (x.numel() == 0) return {y, sum};
  const Tensor rows = AsRows(x), added = residual == nullptr ? Tensor() : AsRows(*residual), weights = w.to(x.scalar_type()).contiguous();
  RmsNormParams params;
  params.x = rows.const_data_ptr();
  params.x_stride = rows.stride(0);
  if (residual != nullptr) {
    params.residual = added.const_data_ptr();
    params.residual_stride = added.stride(0);
    params.sum = sum.mutable_data_ptr();
  }
  params.w = weights.const_data_ptr();
  params.y = y.mutable_data_ptr();
  params.rows = rows.size(0);
  params.d = static_cast<int>(rows.size(1));
  params.eps = static_cast<float>(eps);
  params.dtype = DtypeOf(x);
  LaunchRmsNorm(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {y, sum};
}

Tensor RmsNorm(const Tensor& x, const Tensor& w, double eps) { return std::get<0>(Normalise(x, nullptr, w, eps)); }

std::tuple<Tensor, Tensor> AddRmsNorm(const Tensor& x, const Tensor& residual, const Tensor& w, double eps) {
  return Normalise(x, &residual, w, eps);
}

std::tuple<Tensor, Tensor> RmsNormBackward(const Tensor& dy, const Tensor& x, const Tensor& w, double eps, const std::optional<Tensor>& added) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor grad = dy.contiguous(), input = AsRows(x), added_rows = added ? added->contiguous() : Tensor(), weights = w.to(x.scalar_type()).contiguous();
  Tensor dx = at::empty(x.sizes(), x.options()), dw = at::empty(w.sizes(), weights.options());
  const int64_t d = x.size(-1), rows = d == 0 ? 0 : x.numel() / d;
  if (rows == 0) return {dx, dw.zero_().to(w.scalar_type())};
  TORCH_CHECK(!added || (added->sizes() == x.sizes() && added->scalar_type() == x.scalar_type()), "rms_norm_backward: added must be like x");
  RmsNormBackwardParams params;
  params.shared_bytes = DeviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  params.partial_rows = static_cast<int>(std::min<int64_t>(rows, NumProcessors()));
  Tensor partial = at::empty({params.partial_rows, d}, x.options().dtype(at::kFloat));
  params.dy = grad.const_data_ptr();
  params.x = input.const_data_ptr();
  params.w = weights.const_data_ptr();
  params.x_stride = input.stride(0);
  params.added = added ? added_rows.const_data_ptr() : nullptr;
  params.dx = dx.mutable_data_ptr();
  params.partial = partial.mutable_data_ptr<float>();
  params.dw = dw.mutable_data_ptr();
  params.rows = rows;
  params.d = static_cast<int>(d);
  params.eps = static_cast<float>(eps);
  params.dtype = DtypeOf(x);
  LaunchRmsNormBackward(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {dx, dw.to(w.scalar_type())};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("rms_norm", TORCH_FN(RmsNorm));
  m.impl("add_rms_norm", TORCH_FN(AddRmsNorm));
  m.impl("rms_norm_backward", TORCH_FN(RmsNormBackward));
}

}  // namespace fathom::cuda
