#include "ops/router/router.h"

#include "ops/library.h"

namespace fathom::ops {
namespace {

void CheckLogits(const char* op, const Tensor& logits, const RouterParams& params) {
  FATHOM_CHECK(logits.dim() == 2 && logits.scalar_type() == at::kFloat, "{}: logits must be [T, E] float32, got {} dims of {}", op, logits.dim(),
               c10::toString(logits.scalar_type()));
  FATHOM_CHECK(params.score_func == 0 || params.score_func == 1, "{}: score_func must be 0 (softmax) or 1 (sigmoid), got {}", op,
               params.score_func);
}

}  // namespace

std::tuple<Tensor, Tensor> route(const Tensor& logits_TE, const std::optional<Tensor>& bias_E, const RouterParams& params) {
  CheckLogits("route", logits_TE, params);
  const int64_t E = logits_TE.size(1);
  FATHOM_CHECK(!bias_E || (bias_E->dim() == 1 && bias_E->size(0) == E && bias_E->scalar_type() == at::kFloat),
               "route: bias must be [E] = [{}] float32", E);
  FATHOM_CHECK(params.n_group >= 1 && E % params.n_group == 0 && params.topk_group >= 1 && params.topk_group <= params.n_group,
               "route: {} experts in n_group = {} groups, of which topk_group = {}", E, params.n_group, params.topk_group);
  FATHOM_CHECK(params.top_k >= 1 && params.top_k <= E / params.n_group * params.topk_group,
               "route: top_k = {} must be between 1 and the {} experts of the chosen groups", params.top_k, E / params.n_group * params.topk_group);
  return RouteOp::Call(logits_TE.contiguous(), bias_E ? OptionalTensor(bias_E->contiguous()) : OptionalTensor(), params.top_k,
                       params.score_func, params.n_group, params.topk_group, params.group_top2, params.norm_topk_prob,
                       params.routed_scaling_factor);
}

Tensor route_replay(const Tensor& logits_TE, const Tensor& topk_idx_TK, const RouterParams& params) {
  CheckLogits("route_replay", logits_TE, params);
  FATHOM_CHECK(topk_idx_TK.dim() == 2 && topk_idx_TK.size(0) == logits_TE.size(0) && topk_idx_TK.scalar_type() == at::kInt,
               "route_replay: topk_idx must be [T, K] int32 with T = {}", logits_TE.size(0));
  return RouteReplayOp::Call(logits_TE.contiguous(), topk_idx_TK.contiguous(), params.score_func, params.norm_topk_prob,
                             params.routed_scaling_factor);
}

}  // namespace fathom::ops
