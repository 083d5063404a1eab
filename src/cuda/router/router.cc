#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "cuda/launch.h"
#include "cuda/router/router_kernel.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> Route(const Tensor& logits_TE, const std::optional<Tensor>& bias_E, int64_t top_k, int64_t score_func, int64_t n_group,
                                 int64_t topk_group, bool group_top2, bool norm_topk_prob, double routed_scaling_factor) {
  const c10::cuda::CUDAGuard guard(logits_TE.device());
  const Tensor logits = logits_TE.contiguous(), bias = bias_E ? bias_E->contiguous() : Tensor();
  Tensor weights_TK = at::empty({logits.size(0), top_k}, logits.options());
  Tensor topk_idx_TK = at::empty({logits.size(0), top_k}, logits.options().dtype(at::kInt));
  if (weights_TK.numel() == 0) return {weights_TK, topk_idx_TK};
  RouteParams params;
  params.logits = logits.const_data_ptr<float>();
  params.bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  params.weights = weights_TK.mutable_data_ptr<float>();
  params.topk_idx = topk_idx_TK.mutable_data_ptr<int32_t>();
  params.tokens = logits.size(0);
  params.experts = static_cast<int>(logits.size(1));
  params.top_k = static_cast<int>(top_k);
  params.score_func = static_cast<int>(score_func);
  params.n_group = static_cast<int>(n_group);
  params.topk_group = static_cast<int>(topk_group);
  params.group_top2 = group_top2;
  params.norm_topk_prob = norm_topk_prob;
  params.scaling = static_cast<float>(routed_scaling_factor);
  LaunchRoute(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {weights_TK, topk_idx_TK};
}

Tensor RouteReplay(const Tensor& logits_TE, const Tensor& topk_idx_TK, int64_t score_func, bool norm_topk_prob, double routed_scaling_factor) {
  const c10::cuda::CUDAGuard guard(logits_TE.device());
  const Tensor logits = logits_TE.contiguous(), topk_idx = topk_idx_TK.contiguous();
  Tensor weights_TK = at::empty(topk_idx.sizes(), logits.options());
  if (weights_TK.numel() == 0) return weights_TK;
  RouteParams params;
  params.logits = logits.const_data_ptr<float>();
  params.weights = weights_TK.mutable_data_ptr<float>();
  params.topk_idx = const_cast<int32_t*>(topk_idx.const_data_ptr<int32_t>());  // read only: replay
  params.replay = true;
  params.tokens = logits.size(0);
  params.experts = static_cast<int>(logits.size(1));
  params.top_k = static_cast<int>(topk_idx.size(1));
  params.score_func = static_cast<int>(score_func);
  params.norm_topk_prob = norm_topk_prob;
  params.scaling = static_cast<float>(routed_scaling_factor);
  LaunchRoute(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return weights_TK;
}

Tensor RouteBackward(const Tensor& dweights_TK, const Tensor& logits_TE, const Tensor& topk_idx_TK, int64_t score_func, bool norm_topk_prob,
                     double routed_scaling_factor) {
  const c10::cuda::CUDAGuard guard(logits_TE.device());
  const Tensor logits = logits_TE.contiguous(), topk_idx = topk_idx_TK.contiguous(), dweights = dweights_TK.contiguous();
  Tensor dlogits_TE = at::empty(logits.sizes(), logits.options());
  if (dlogits_TE.numel() == 0) return dlogits_TE;
  RouteBackwardParams params;
  params.dweights = dweights.const_data_ptr<float>();
  params.logits = logits.const_data_ptr<float>();
  params.topk_idx = topk_idx.const_data_ptr<int32_t>();
  params.dlogits = dlogits_TE.mutable_data_ptr<float>();
  params.tokens = logits.size(0);
  params.experts = static_cast<int>(logits.size(1));
  params.top_k = static_cast<int>(topk_idx.size(1));
  params.score_func = static_cast<int>(score_func);
  params.norm_topk_prob = norm_topk_prob;
  params.scaling = static_cast<float>(routed_scaling_factor);
  LaunchRouteBackward(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return dlogits_TE;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("route", TORCH_FN(Route));
  m.impl("route_replay", TORCH_FN(RouteReplay));
  m.impl("route_backward", TORCH_FN(RouteBackward));
}

}  // namespace fathom::cuda
