#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& w, double eps) {
    ctx->save_for_backward({x, w});
    ctx->saved_data["eps"] = eps;
    return RmsNormOp::CallBelowAutograd(x, w, eps);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    auto [dx, dw] = RmsNormBackwardOp::Call(grads[0], saved[0], saved[1], ctx->saved_data["eps"].toDouble(), std::nullopt);
    return {dx, dw, Tensor()};
  }
};

struct AddRmsNormFunction : torch::autograd::Function<AddRmsNormFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& residual, const Tensor& w, double eps) {
    auto [y, sum] = AddRmsNormOp::CallBelowAutograd(x, residual, w, eps);
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({sum, w});
    ctx->saved_data["eps"] = eps;
    return {y, sum};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    Tensor dsum = grads[1], dw;
    if (grads[0].defined()) {
      std::tie(dsum, dw) = RmsNormBackwardOp::Call(grads[0], saved[0], saved[1], ctx->saved_data["eps"].toDouble(),
                                                   dsum.defined() ? OptionalTensor(dsum) : OptionalTensor());
    }
    return {dsum, dsum, dw, Tensor()};
  }
};

Tensor RmsNormAutograd(const Tensor& x, const Tensor& w, double eps) {
  if (!RmsNormOp::NeedsGrad(x, w, eps)) return RmsNormOp::CallBelowAutograd(x, w, eps);
  return RmsNormFunction::apply(x, w, eps);
}

std::tuple<Tensor, Tensor> AddRmsNormAutograd(const Tensor& x, const Tensor& residual, const Tensor& w, double eps) {
  if (!AddRmsNormOp::NeedsGrad(x, residual, w, eps)) return AddRmsNormOp::CallBelowAutograd(x, residual, w, eps);
  auto outputs = AddRmsNormFunction::apply(x, residual, w, eps);
  return {outputs[0], outputs[1]};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("rms_norm", TORCH_FN(RmsNormAutograd));
  m.impl("add_rms_norm", TORCH_FN(AddRmsNormAutograd));
  m.impl("rms_norm_backward", TORCH_FN(RmsNormBackwardOp::NotDifferentiable));
}

}  // namespace fathom::ops
