#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "cuda/launch.h"
#include "cuda/rope/rope_kernel.h"

namespace fathom::cuda {
namespace {

template <bool kBackward>
at::Tensor Rope(const at::Tensor& x_THD, const at::Tensor& cos_TD, const at::Tensor& sin_TD, bool interleaved) {
  const c10::cuda::CUDAGuard guard(x_THD.device());
  at::Tensor y_THD = at::empty(x_THD.sizes(), x_THD.options());
  if (y_THD.numel() == 0) return y_THD;
  const at::Tensor x = x_THD.stride(2) == 1 ? x_THD : x_THD.contiguous();
  const at::Tensor cos = cos_TD.contiguous(), sin = sin_TD.contiguous();
  RopeParams params;
  params.x = x.const_data_ptr();
  params.cos = cos.const_data_ptr<float>();
  params.sin = sin.const_data_ptr<float>();
  params.y = y_THD.mutable_data_ptr();
  params.tokens = x.size(0);
  params.x_token_stride = x.stride(0);
  params.x_head_stride = x.stride(1);
  params.heads = static_cast<int>(x.size(1));
  params.dim = static_cast<int>(x.size(2));
  params.interleaved = interleaved;
  params.backward = kBackward;
  params.dtype = DtypeOf(x);
  LaunchRope(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y_THD;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("rope", TORCH_FN(Rope<false>));
  m.impl("rope_backward", TORCH_FN(Rope<true>));
}

}  // namespace fathom::cuda
