#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>

#include "cuda/cross_entropy/cross_entropy_kernel.h"
#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> CrossEntropyRows(const Tensor& logits_TV, const Tensor& targets_T, const Tensor& scales_T, double z_loss, bool gradient) {
  const c10::cuda::CUDAGuard guard(logits_TV.device());
  TORCH_CHECK(logits_TV.is_contiguous(), "cross_entropy_rows: logits must be contiguous");
  const Tensor targets = targets_T.contiguous(), scales = scales_T.contiguous();
  Tensor nll = at::empty({logits_TV.size(0)}, scales.options()), lse = at::empty({logits_TV.size(0)}, scales.options());
  if (nll.numel() == 0) return {nll, lse};
  CrossEntropyParams params;
  params.logits = logits_TV.mutable_data_ptr();
  params.targets = targets.const_data_ptr<int64_t>();
  params.scales = scales.const_data_ptr<float>();
  params.nll = nll.mutable_data_ptr<float>();
  params.lse = lse.mutable_data_ptr<float>();
  params.rows = logits_TV.size(0);
  params.vocab = static_cast<int>(logits_TV.size(1));
  params.shared_bytes = DeviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  params.num_processors = NumProcessors();
  params.z_loss = static_cast<float>(z_loss);
  params.gradient = gradient;
  params.dtype = DtypeOf(logits_TV);
  LaunchCrossEntropy(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {nll, lse};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) { m.impl("cross_entropy_rows", TORCH_FN(CrossEntropyRows)); }

}  // namespace fathom::cuda
