#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor RouterBackward(AutogradContext* ctx, const Tensor& dweights) {
  const auto saved = ctx->get_saved_variables();
  return RouteBackwardOp::Call(dweights, saved[0], saved[1], ctx->saved_data["score_func"].toInt(),
                               ctx->saved_data["norm_topk_prob"].toBool(), ctx->saved_data["scaling"].toDouble());
}

void Save(AutogradContext* ctx, const Tensor& logits, const Tensor& topk_idx, int64_t score_func, bool norm_topk_prob, double scaling) {
  ctx->save_for_backward({logits, topk_idx});
  ctx->saved_data["score_func"] = score_func;
  ctx->saved_data["norm_topk_prob"] = norm_topk_prob;
  ctx->saved_data["scaling"] = scaling;
}

struct RouteFunction : torch::autograd::Function<RouteFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& logits, const OptionalTensor& bias, int64_t top_k, int64_t score_func,
                               int64_t n_group, int64_t topk_group, bool group_top2, bool norm_topk_prob, double scaling) {
    auto [weights, topk_idx] =
        RouteOp::CallBelowAutograd(logits, bias, top_k, score_func, n_group, topk_group, group_top2, norm_topk_prob, scaling);
    ctx->mark_non_differentiable({topk_idx});
    Save(ctx, logits, topk_idx, score_func, norm_topk_prob, scaling);
    return {weights, topk_idx};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    return {RouterBackward(ctx, grads[0]), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

struct RouteReplayFunction : torch::autograd::Function<RouteReplayFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& logits, const Tensor& topk_idx, int64_t score_func, bool norm_topk_prob,
                        double scaling) {
    Save(ctx, logits, topk_idx, score_func, norm_topk_prob, scaling);
    return RouteReplayOp::CallBelowAutograd(logits, topk_idx, score_func, norm_topk_prob, scaling);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    return {RouterBackward(ctx, grads[0]), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor> RouteAutograd(const Tensor& logits, const OptionalTensor& bias, int64_t top_k, int64_t score_func, int64_t n_group,
                                         int64_t topk_group, bool group_top2, bool norm_topk_prob, double scaling) {
  if (!at::GradMode::is_enabled() || !logits.requires_grad()) {
    return RouteOp::CallBelowAutograd(logits, bias, top_k, score_func, n_group, topk_group, group_top2, norm_topk_prob, scaling);
  }
  auto outputs = RouteFunction::apply(logits, bias, top_k, score_func, n_group, topk_group, group_top2, norm_topk_prob, scaling);
  return {outputs[0], outputs[1]};
}

Tensor RouteReplayAutograd(const Tensor& logits, const Tensor& topk_idx, int64_t score_func, bool norm_topk_prob, double scaling) {
  if (!RouteReplayOp::NeedsGrad(logits, topk_idx, score_func, norm_topk_prob, scaling)) {
    return RouteReplayOp::CallBelowAutograd(logits, topk_idx, score_func, norm_topk_prob, scaling);
  }
  return RouteReplayFunction::apply(logits, topk_idx, score_func, norm_topk_prob, scaling);
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("route", TORCH_FN(RouteAutograd));
  m.impl("route_replay", TORCH_FN(RouteReplayAutograd));
  m.impl("route_backward", TORCH_FN(RouteBackwardOp::NotDifferentiable));
}

}  // namespace fathom::ops
