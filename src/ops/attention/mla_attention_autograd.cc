// Legend: T tokens, H heads, C nope + v, R rope.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/attention/mla_attention.h"
#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct RopeTailFunction : torch::autograd::Function<RopeTailFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& cos, const Tensor& sin, bool interleaved) {
    ctx->save_for_backward({cos, sin});
    ctx->saved_data["interleaved"] = interleaved;
    return RopeTailOp::CallBelowAutograd(q, cos, sin, interleaved);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {RopeTailBackwardOp::Call(grads[0].contiguous(), saved[0], saved[1], ctx->saved_data["interleaved"].toBool()), Tensor(), Tensor(), Tensor()};
  }
};

Tensor RopeTailAutograd(const Tensor& q, const Tensor& cos, const Tensor& sin, bool interleaved) {
  if (!RopeTailOp::NeedsGrad(q, cos, sin, interleaved)) return RopeTailOp::CallBelowAutograd(q, cos, sin, interleaved);
  return RopeTailFunction::apply(q, cos, sin, interleaved);
}

struct MlaAttentionFunction : torch::autograd::Function<MlaAttentionFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& kv, const Tensor& k_rope, const Tensor& cu, double scale,
                        const OptionalTensor& topk_idx, int64_t max_len) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const int64_t nope = q.size(2) - k_rope.size(1);
    const Tensor k = MlaKeysOp::Call(kv, k_rope, nope), v = kv.narrow(2, nope, kv.size(2) - nope);
    auto [out, lse] = PackedAttentionForwardOp::Call(q, k, v, cu, cu, scale, -1, topk_idx, max_len);
    ctx->save_for_backward({q, kv, k_rope, k, out, lse, cu, topk_idx ? *topk_idx : Tensor()});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["max_len"] = max_len;
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &kv = saved[1], &k = saved[3];
    const int64_t nope = q.size(2) - saved[2].size(1);
    auto [dq, dk, dv] = PackedAttentionBackwardOp::Call(grads[0].contiguous(), q, k, kv.narrow(2, nope, kv.size(2) - nope), saved[4], saved[5], saved[6],
                                                        saved[6], ctx->saved_data["scale"].toDouble(), -1,
                                                        saved[7].defined() ? OptionalTensor(saved[7]) : OptionalTensor(), ctx->saved_data["max_len"].toInt());
    auto [dkv, dk_rope] = MlaKeysBackwardOp::Call(dk, dv, nope);
    return {dq, dkv, dk_rope, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rope_tail(const Tensor& q_THD, const Tensor& cos_TD, const Tensor& sin_TD, bool interleaved) {
  FATHOM_CHECK(q_THD.dim() == 3 && IsFloatDtype(q_THD.scalar_type()), "rope_tail: q must be [T, H, D] of a float dtype");
  FATHOM_CHECK(cos_TD.dim() == 2 && cos_TD.size(0) == q_THD.size(0) && cos_TD.sizes() == sin_TD.sizes() && cos_TD.scalar_type() == at::kFloat &&
                   sin_TD.scalar_type() == at::kFloat && 2 * cos_TD.size(1) <= q_THD.size(2),
               "rope_tail: cos and sin must be [T, Dr / 2] float32 with Dr <= {}", q_THD.size(2));
  return RopeTailOp::Call(q_THD.contiguous(), cos_TD.contiguous(), sin_TD.contiguous(), interleaved);
}

Tensor mla_packed_attention(const Tensor& q_THD, const Tensor& kv_THC, const Tensor& k_rope_TD, const Tensor& cu_seqlens, double scale,
                            const std::optional<Tensor>& topk_idx, int64_t max_len) {
  FATHOM_CHECK(q_THD.dim() == 3 && kv_THC.dim() == 3 && k_rope_TD.dim() == 2 && q_THD.size(0) == kv_THC.size(0) && q_THD.size(0) == k_rope_TD.size(0) &&
                   q_THD.size(1) == kv_THC.size(1) && k_rope_TD.size(1) < q_THD.size(2) && kv_THC.size(2) > q_THD.size(2) - k_rope_TD.size(1),
               "mla_packed_attention: q must be [T, H, nope + rope], kv [T, H, nope + v], k_rope [T, rope]");
  FATHOM_CHECK(IsFloatDtype(q_THD.scalar_type()) && kv_THC.scalar_type() == q_THD.scalar_type() && k_rope_TD.scalar_type() == q_THD.scalar_type(),
               "mla_packed_attention: q, kv and k_rope must be of one float dtype");
  FATHOM_CHECK(cu_seqlens.dim() == 1 && cu_seqlens.scalar_type() == at::kInt, "mla_packed_attention: cu_seqlens must be [B + 1] int32");
  const Tensor q = q_THD.contiguous(), kv = kv_THC.contiguous(), k_rope = k_rope_TD.contiguous(), cu = cu_seqlens.contiguous();
  const OptionalTensor topk = topk_idx ? OptionalTensor(topk_idx->contiguous()) : OptionalTensor();
  if (at::GradMode::is_enabled() && (q.requires_grad() || kv.requires_grad() || k_rope.requires_grad())) {
    return MlaAttentionFunction::apply(q, kv, k_rope, cu, scale, topk, max_len);
  }
  const int64_t nope = q.size(2) - k_rope.size(1);
  return PackedAttentionOp::Call(q, MlaKeysOp::Call(kv, k_rope, nope), kv.narrow(2, nope, kv.size(2) - nope), cu, cu, scale, -1, topk, max_len);
}

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("rope_tail", TORCH_FN(RopeTailAutograd));
  m.impl("rope_tail_backward", TORCH_FN(RopeTailBackwardOp::NotDifferentiable));
  m.impl("mla_keys", TORCH_FN(MlaKeysOp::NotDifferentiable));
  m.impl("mla_keys_backward", TORCH_FN(MlaKeysBackwardOp::NotDifferentiable));
}

}  // namespace fathom::ops
