#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "cuda/launch.h"
#include "cuda/router/router_kernel.h"
#include "ops/library.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

// Everything but the logits.
RouteParams MakeParams(const Tensor& weights_TK, const Tensor& topk_idx_TK, const std::optional<Tensor>& bias_E, int64_t experts, int64_t score_func,
                       int64_t n_group, int64_t topk_group, bool group_top2, bool norm_topk_prob, double routed_scaling_factor) {
  RouteParams params;
  params.bias = bias_E ? bias_E->const_data_ptr<float>() : nullptr;
  params.weights = weights_TK.mutable_data_ptr<float>();
  params.topk_idx = topk_idx_TK.mutable_data_ptr<int32_t>();
  params.tokens = weights_TK.size(0);
  params.experts = static_cast<int>(experts);
  params.top_k = static_cast<int>(weights_TK.size(1));
  params.score_func = static_cast<int>(score_func);
  params.n_group = static_cast<int>(n_group);
  params.topk_group = static_cast<int>(topk_group);
  params.group_top2 = group_top2;
  params.norm_topk_prob = norm_topk_prob;
  params.scaling = static_cast<float>(routed_scaling_factor);
  return params;
}

// bias_E is contiguous: the operator's entry sees to it.
std::tuple<Tensor, Tensor> Route(const Tensor& logits_TE, const std::optional<Tensor>& bias_E, int64_t top_k, int64_t score_func, int64_t n_group,
                                 int64_t topk_group, bool group_top2, bool norm_topk_prob, double routed_scaling_factor) {
  const c10::cuda::CUDAGuard guard(logits_TE.device());
  const Tensor logits = logits_TE.contiguous();
  Tensor weights_TK = at::empty({logits.size(0), top_k}, logits.options());
  Tensor topk_idx_TK = at::empty({logits.size(0), top_k}, logits.options().dtype(at::kInt));
  if (weights_TK.numel() == 0) return {weights_TK, topk_idx_TK};
  RouteParams params = MakeParams(weights_TK, topk_idx_TK, bias_E, logits.size(1), score_func, n_group, topk_group, group_top2, norm_topk_prob,
                                  routed_scaling_factor);
  params.logits = logits.const_data_ptr<float>();
  LaunchRoute(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {weights_TK, topk_idx_TK};
}

// Blocks of one cluster share the rows of w: a larger router is quicker spread over the device.
constexpr int64_t kMostClusterValues = 1 << 18;

std::tuple<Tensor, Tensor> RouteTokens(const Tensor& x_TD, const Tensor& w_ED, const std::optional<Tensor>& bias_E, int64_t top_k, int64_t score_func,
                                       int64_t n_group, int64_t topk_group, bool group_top2, bool norm_topk_prob, double routed_scaling_factor) {
  const c10::cuda::CUDAGuard guard(x_TD.device());
  const bool takes = ComputeMajor() >= 9 && x_TD.size(1) % 8 == 0 && IsAligned16(x_TD) && IsAligned16(w_ED) && w_ED.size(0) <= kMostRoutedExperts &&
                     w_ED.numel() <= kMostClusterValues;
  if (!takes || x_TD.numel() == 0) {
    const Tensor logits_TE = ops::LinearRowsOp::CallBelowAutograd(x_TD.to(at::kFloat), w_ED, std::nullopt);
    return Route(logits_TE, bias_E, top_k, score_func, n_group, topk_group, group_top2, norm_topk_prob, routed_scaling_factor);
  }
  Tensor weights_TK = at::empty({x_TD.size(0), top_k}, x_TD.options().dtype(at::kFloat));
  Tensor topk_idx_TK = at::empty({x_TD.size(0), top_k}, x_TD.options().dtype(at::kInt));
  const RouteParams params = MakeParams(weights_TK, topk_idx_TK, bias_E, w_ED.size(0), score_func, n_group, topk_group, group_top2, norm_topk_prob,
                                        routed_scaling_factor);
  LaunchRouteTokens(params, x_TD.const_data_ptr(), DtypeOf(x_TD), w_ED.const_data_ptr(), DtypeOf(w_ED), static_cast<int>(x_TD.size(1)), CurrentStream());
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
  m.impl("route_tokens", TORCH_FN(RouteTokens));
  m.impl("route_replay", TORCH_FN(RouteReplay));
  m.impl("route_backward", TORCH_FN(RouteBackward));
}

}  // namespace fathom::cuda
