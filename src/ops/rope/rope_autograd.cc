#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct RopeFunction : torch::autograd::Function<RopeFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
    ctx->save_for_backward({cos, sin});
    ctx->saved_data["interleaved"] = interleaved;
    return RopeOp::CallBelowAutograd(x, cos, sin, interleaved);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {RopeBackwardOp::Call(grads[0], saved[0], saved[1], ctx->saved_data["interleaved"].toBool()), Tensor(), Tensor(), Tensor()};
  }
};

Tensor RopeAutograd(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  if (!RopeOp::NeedsGrad(x, cos, sin, interleaved)) return RopeOp::CallBelowAutograd(x, cos, sin, interleaved);
  FATHOM_CHECK(!cos.requires_grad() && !sin.requires_grad(), "rope is differentiable in x alone, not in cos and sin");
  return RopeFunction::apply(x, cos, sin, interleaved);
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("rope", TORCH_FN(RopeAutograd));
  m.impl("rope_backward", TORCH_FN(RopeBackwardOp::NotDifferentiable));
}

}  // namespace fathom::ops
