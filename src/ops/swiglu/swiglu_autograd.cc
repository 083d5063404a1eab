#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate_up) {
    ctx->save_for_backward({gate_up});
    return SwigluOp::CallBelowAutograd(gate_up);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    return {SwigluBackwardOp::Call(grads[0], ctx->get_saved_variables()[0])};
  }
};

Tensor SwigluAutograd(const Tensor& gate_up) {
  if (!SwigluOp::NeedsGrad(gate_up)) return SwigluOp::CallBelowAutograd(gate_up);
  return SwigluFunction::apply(gate_up);
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("swiglu", TORCH_FN(SwigluAutograd));
  m.impl("swiglu_backward", TORCH_FN(SwigluBackwardOp::NotDifferentiable));
}

}  // namespace fathom::ops
