#include "ops/router/router.h"

#include <torch/library.h>

#include "ops/cpu/dtype.h"
#include "ops/library.h"
#include "ops/linear/linear_rows.h"

namespace fathom::ops {
namespace {

void CheckLogits(const char* op, const Tensor& logits, const RouterParams& params) {
  FATHOM_CHECK(logits.dim() == 2 && logits.scalar_type() == at::kFloat, "{}: logits must be [T, E] float32, got {} dims of {}", op, logits.dim(),
               c10::toString(logits.scalar_type()));
  FATHOM_CHECK(params.score_func == 0 || params.score_func == 1, "{}: score_func must be 0 (softmax) or 1 (sigmoid), got {}", op,
               params.score_func);
}

void CheckParams(const char* op, int64_t E, const std::optional<Tensor>& bias_E, const RouterParams& params) {
  FATHOM_CHECK(!bias_E || (bias_E->dim() == 1 && bias_E->size(0) == E && bias_E->scalar_type() == at::kFloat),
               "{}: bias must be [E] = [{}] float32", op, E);
  FATHOM_CHECK(params.n_group >= 1 && E % params.n_group == 0 && params.topk_group >= 1 && params.topk_group <= params.n_group,
               "{}: {} experts in n_group = {} groups, of which topk_group = {}", op, E, params.n_group, params.topk_group);
  FATHOM_CHECK(params.top_k >= 1 && params.top_k <= E / params.n_group * params.topk_group,
               "{}: top_k = {} must be between 1 and the {} experts of the chosen groups", op, params.top_k, E / params.n_group * params.topk_group);
}

OptionalTensor Contiguous(const std::optional<Tensor>& bias_E) { return bias_E ? OptionalTensor(bias_E->contiguous()) : OptionalTensor(); }

std::tuple<Tensor, Tensor> RouteTokensCpu(const Tensor& x_TD, const Tensor& w_ED, const OptionalTensor& bias_E, int64_t top_k, int64_t score_func,
                                          int64_t n_group, int64_t topk_group, bool group_top2, bool norm_topk_prob, double routed_scaling_factor) {
  const Tensor logits_TE = LinearRowsOp::CallBelowAutograd(x_TD.to(at::kFloat), w_ED, std::nullopt);
  return RouteOp::CallBelowAutograd(logits_TE, bias_E, top_k, score_func, n_group, topk_group, group_top2, norm_topk_prob, routed_scaling_factor);
}

}  // namespace

std::tuple<Tensor, Tensor> route(const Tensor& logits_TE, const std::optional<Tensor>& bias_E, const RouterParams& params) {
  CheckLogits("route", logits_TE, params);
  CheckParams("route", logits_TE.size(1), bias_E, params);
  return RouteOp::Call(logits_TE.contiguous(), Contiguous(bias_E), params.top_k,
                       params.score_func, params.n_group, params.topk_group, params.group_top2, params.norm_topk_prob,
                       params.routed_scaling_factor);
}

std::tuple<Tensor, Tensor> route_tokens(const Tensor& x_TD, const Tensor& w_ED, const std::optional<Tensor>& bias_E, const RouterParams& params) {
  FATHOM_CHECK(x_TD.dim() == 2 && w_ED.dim() == 2 && x_TD.size(1) == w_ED.size(1) && x_TD.size(0) <= kMaxLinearRows,
               "route_tokens: x must be [T, D] with T <= {}, w [E, D]", kMaxLinearRows);
  FATHOM_CHECK(IsFloatDtype(x_TD.scalar_type()) && (w_ED.scalar_type() == at::kFloat || w_ED.scalar_type() == at::kBFloat16) && w_ED.is_contiguous(),
               "route_tokens: x must be of a float dtype, w float32 or bfloat16 and contiguous, got {} and {}", c10::toString(x_TD.scalar_type()),
               c10::toString(w_ED.scalar_type()));
  CheckParams("route_tokens", w_ED.size(0), bias_E, params);
  FATHOM_CHECK(params.score_func == 0 || params.score_func == 1, "route_tokens: score_func must be 0 (softmax) or 1 (sigmoid), got {}", params.score_func);
  return RouteTokensOp::Call(x_TD.contiguous(), w_ED, Contiguous(bias_E), params.top_k, params.score_func, params.n_group, params.topk_group,
                             params.group_top2, params.norm_topk_prob, params.routed_scaling_factor);
}

Tensor route_replay(const Tensor& logits_TE, const Tensor& topk_idx_TK, const RouterParams& params) {
  CheckLogits("route_replay", logits_TE, params);
  FATHOM_CHECK(topk_idx_TK.dim() == 2 && topk_idx_TK.size(0) == logits_TE.size(0) && topk_idx_TK.scalar_type() == at::kInt,
               "route_replay: topk_idx must be [T, K] int32 with T = {}", logits_TE.size(0));
  return RouteReplayOp::Call(logits_TE.contiguous(), topk_idx_TK.contiguous(), params.score_func, params.norm_topk_prob,
                             params.routed_scaling_factor);
}

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("route_tokens", TORCH_FN(RouteTokensCpu)); }
TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("route_tokens", TORCH_FN(RouteTokensOp::NotDifferentiable)); }

}  // namespace fathom::ops
