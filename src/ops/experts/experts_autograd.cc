#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct GatherTokensFunction : torch::autograd::Function<GatherTokensFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& order, int64_t top_k) {
    ctx->save_for_backward({order});
    ctx->saved_data["top_k"] = top_k;
    return GatherTokensOp::CallBelowAutograd(x, order, top_k);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    return {GatherTokensBackwardOp::Call(grads[0], ctx->get_saved_variables()[0], ctx->saved_data["top_k"].toInt()), Tensor(), Tensor()};
  }
};

struct CombineTokensFunction : torch::autograd::Function<CombineTokensFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& order, const Tensor& weights) {
    ctx->save_for_backward({x, order, weights});
    return CombineTokensOp::CallBelowAutograd(x, order, weights);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    auto [dx, dweights] = CombineTokensBackwardOp::Call(grads[0], saved[0], saved[1], saved[2]);
    return {dx, Tensor(), dweights};
  }
};

Tensor GatherTokensAutograd(const Tensor& x, const Tensor& order, int64_t top_k) {
  if (!GatherTokensOp::NeedsGrad(x, order, top_k)) return GatherTokensOp::CallBelowAutograd(x, order, top_k);
  return GatherTokensFunction::apply(x, order, top_k);
}

Tensor CombineTokensAutograd(const Tensor& x, const Tensor& order, const Tensor& weights) {
  if (!CombineTokensOp::NeedsGrad(x, order, weights)) return CombineTokensOp::CallBelowAutograd(x, order, weights);
  return CombineTokensFunction::apply(x, order, weights);
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("gather_tokens", TORCH_FN(GatherTokensAutograd));
  m.impl("combine_tokens", TORCH_FN(CombineTokensAutograd));
  m.impl("sort_by_expert", TORCH_FN(SortByExpertOp::NotDifferentiable));
  m.impl("gather_tokens_backward", TORCH_FN(GatherTokensBackwardOp::NotDifferentiable));
  m.impl("combine_tokens_backward", TORCH_FN(CombineTokensBackwardOp::NotDifferentiable));
}

}  // namespace fathom::ops
