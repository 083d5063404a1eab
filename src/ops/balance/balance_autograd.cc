#include <torch/csrc/autograd/custom_function.h>

#include "base/error.h"
#include "ops/balance/balance.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct AttachFunction : torch::autograd::Function<AttachFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& weights, const Tensor& logits, const Tensor& f, const Tensor& cu_seqlens, const Tensor& scale,
                        int64_t score_func) {
    ctx->save_for_backward({logits, f, cu_seqlens, scale});
    ctx->saved_data["score_func"] = score_func;
    return weights.view_as(weights);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    variable_list out(6);
    out[0] = grads[0];
    out[1] = BalanceBackwardOp::Call(saved[0], saved[1], saved[2], saved[3], ctx->saved_data["score_func"].toInt());
    return out;
  }
};

}  // namespace

Tensor attach_balance_loss(const Tensor& weights_TK, const Tensor& logits_TE, const Tensor& f_BE, const Tensor& cu_seqlens, const Tensor& scale,
                           int64_t score_func) {
  FATHOM_CHECK(f_BE.dim() == 2 && f_BE.size(1) == logits_TE.size(1) && cu_seqlens.size(0) == f_BE.size(0) + 1 && scale.numel() == 1 &&
                   scale.scalar_type() == at::kFloat,
               "attach_balance_loss: f must be [B, E], cu_seqlens [B + 1], scale one float32");
  if (!at::GradMode::is_enabled() || !logits_TE.requires_grad()) return weights_TK;
  return AttachFunction::apply(weights_TK, logits_TE.contiguous(), f_BE.contiguous(), cu_seqlens.contiguous(), scale, score_func);
}

}  // namespace fathom::ops
