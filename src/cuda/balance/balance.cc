#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <tuple>

#include "cuda/balance/balance_kernel.h"
#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

Tensor CountChoices(const Tensor& topk_idx_TK, int64_t num_experts) {
  const c10::cuda::CUDAGuard guard(topk_idx_TK.device());
  const Tensor topk_idx = topk_idx_TK.contiguous();
  Tensor counts = at::zeros({num_experts}, topk_idx.options());
  if (topk_idx.numel() == 0) return counts;
  LaunchCountChoices(topk_idx.const_data_ptr<int32_t>(), topk_idx.numel(), static_cast<int>(num_experts), counts.mutable_data_ptr<int32_t>(), CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return counts;
}

std::tuple<Tensor, Tensor> BalanceTerms(const Tensor& logits_TE, const Tensor& topk_idx_TK, const Tensor& cu, int64_t score_func) {
  const c10::cuda::CUDAGuard guard(logits_TE.device());
  const Tensor logits = logits_TE.contiguous(), topk_idx = topk_idx_TK.contiguous();
  const int64_t B = cu.size(0) - 1, E = logits.size(1);
  Tensor f_BE = at::empty({B, E}, logits.options()), p_BE = at::empty({B, E}, logits.options());
  if (B == 0) return {f_BE, p_BE};
  Tensor partial = at::empty({B, kBalanceParts, 2, E}, logits.options());
  BalanceParams params;
  params.logits = logits.const_data_ptr<float>();
  params.topk_idx = topk_idx.const_data_ptr<int32_t>();
  params.cu = cu.const_data_ptr<int32_t>();
  params.f = f_BE.mutable_data_ptr<float>();
  params.p = p_BE.mutable_data_ptr<float>();
  params.partial = partial.mutable_data_ptr<float>();
  params.groups = static_cast<int>(B);
  params.experts = static_cast<int>(E);
  params.top_k = static_cast<int>(topk_idx.size(1));
  params.score_func = static_cast<int>(score_func);
  LaunchBalanceTerms(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {f_BE, p_BE};
}

Tensor BalanceBackward(const Tensor& logits_TE, const Tensor& f_BE, const Tensor& cu, const Tensor& scale, int64_t score_func) {
  const c10::cuda::CUDAGuard guard(logits_TE.device());
  const Tensor logits = logits_TE.contiguous(), f = f_BE.contiguous();
  Tensor dlogits_TE = at::empty(logits.sizes(), logits.options());
  if (dlogits_TE.numel() == 0 || f.size(0) == 0) return dlogits_TE.zero_();
  BalanceBackwardParams params;
  params.logits = logits.const_data_ptr<float>();
  params.f = f.const_data_ptr<float>();
  params.cu = cu.const_data_ptr<int32_t>();
  params.scale = scale.const_data_ptr<float>();
  params.dlogits = dlogits_TE.mutable_data_ptr<float>();
  params.tokens = logits.size(0);
  params.groups = static_cast<int>(f.size(0));
  params.experts = static_cast<int>(logits.size(1));
  params.score_func = static_cast<int>(score_func);
  LaunchBalanceBackward(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return dlogits_TE;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("count_choices", TORCH_FN(CountChoices));
  m.impl("balance_terms", TORCH_FN(BalanceTerms));
  m.impl("balance_backward", TORCH_FN(BalanceBackward));
}

}  // namespace fathom::cuda
