#include "ops/router/router_logits.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool TakesBf16Products(const Tensor& x_TD) { return x_TD.is_cuda() && x_TD.scalar_type() == at::kBFloat16; }

Tensor RouterProduct(const Tensor& x_TD, const Tensor& w_ED) {
  if (TakesBf16Products(x_TD)) return at::mm(x_TD, w_ED.t(), at::kFloat);
  return at::mm(x_TD.to(at::kFloat), w_ED.to(at::kFloat).t());
}

struct RouterLogitsFunction : torch::autograd::Function<RouterLogitsFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x_TD, const Tensor& w_ED) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    ctx->save_for_backward({x_TD, w_ED});
    return RouterProduct(x_TD, w_ED);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x_TD = saved[0], &w_ED = saved[1], &dlogits_TE = grads[0];
    if (!TakesBf16Products(x_TD)) {
      const Tensor dx = at::mm(dlogits_TE, w_ED.to(at::kFloat)).to(x_TD.scalar_type());
      return {dx, at::mm(dlogits_TE.t(), x_TD.to(at::kFloat)).to(w_ED.scalar_type())};
    }
    // dlogits = high + low to 2^-17 of itself: two columns an expert, and sums in float32 as before.
    const Tensor high_TE = dlogits_TE.to(at::kBFloat16), low_TE = dlogits_TE.sub(high_TE).to(at::kBFloat16);
    const Tensor both = at::cat({high_TE, low_TE}, 1);
    const Tensor dw = at::mm(both.t(), x_TD, at::kFloat).view({2, w_ED.size(0), w_ED.size(1)}).sum(0);
    return {at::mm(both, at::cat({w_ED, w_ED}, 0)), dw.to(w_ED.scalar_type())};
  }
};

}  // namespace

Tensor router_logits(const Tensor& x_TD, const Tensor& w_ED) {
  FATHOM_CHECK(x_TD.dim() == 2 && w_ED.dim() == 2 && x_TD.size(1) == w_ED.size(1) && IsFloatDtype(x_TD.scalar_type()) &&
                   w_ED.scalar_type() == x_TD.scalar_type(),
               "router_logits: x must be [T, D] and w [E, D] of one float dtype");
  if (at::GradMode::is_enabled() && (x_TD.requires_grad() || w_ED.requires_grad())) return RouterLogitsFunction::apply(x_TD, w_ED);
  return RouterProduct(x_TD, w_ED);
}

}  // namespace fathom::ops
