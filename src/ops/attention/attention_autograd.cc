#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Saves the output and each row's logsumexp; the probabilities are made again in the backward (arXiv 2307.08691).
struct PackedAttentionFunction : torch::autograd::Function<PackedAttentionFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k,
                        double scale, int64_t window, const OptionalTensor& topk_idx, int64_t max_len) {
    auto [out, lse] = PackedAttentionForwardOp::CallBelowAutograd(q, k, v, cu_q, cu_k, scale, window, topk_idx, max_len);
    ctx->save_for_backward({q, k, v, out, lse, cu_q, cu_k, topk_idx ? *topk_idx : Tensor()});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    ctx->saved_data["max_len"] = max_len;
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    auto [dq, dk, dv] = PackedAttentionBackwardOp::Call(
        grads[0].contiguous(), saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6], ctx->saved_data["scale"].toDouble(),
        ctx->saved_data["window"].toInt(), saved[7].defined() ? OptionalTensor(saved[7]) : OptionalTensor(),
        ctx->saved_data["max_len"].toInt());
    return {dq, dk, dv, Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

Tensor PackedAttentionAutograd(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k, double scale,
                               int64_t window, const OptionalTensor& topk_idx, int64_t max_len) {
  if (!PackedAttentionOp::NeedsGrad(q, k, v, cu_q, cu_k, scale, window, topk_idx, max_len)) {
    return PackedAttentionOp::CallBelowAutograd(q, k, v, cu_q, cu_k, scale, window, topk_idx, max_len);
  }
  return PackedAttentionFunction::apply(q, k, v, cu_q, cu_k, scale, window, topk_idx, max_len);
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("packed_attention", TORCH_FN(PackedAttentionAutograd));
  m.impl("packed_attention_forward", TORCH_FN(PackedAttentionForwardOp::NotDifferentiable));
  m.impl("packed_attention_backward", TORCH_FN(PackedAttentionBackwardOp::NotDifferentiable));
  m.impl("paged_attention", TORCH_FN(PagedAttentionOp::NotDifferentiable));
  m.impl("mla_paged_attention", TORCH_FN(MlaPagedAttentionOp::NotDifferentiable));
}

}  // namespace fathom::ops
