#include "ops/experts/mix_experts.h"

#include <torch/library.h>

#include "ops/cpu/dtype.h"
#include "ops/experts/mix_experts_one_by_one.h"
#include "ops/linear/linear_rows.h"

namespace fathom::ops {
static_assert(kMaxMixedTokens <= kMaxLinearRows);

Tensor mix_experts(const Tensor& x_TD, const Tensor& weights_TK, const Tensor& topk_idx_TK, const Tensor& gate_up, const Tensor& down,
                   const std::optional<Tensor>& shared_gate_up, const std::optional<Tensor>& shared_down) {
  FATHOM_CHECK(x_TD.dim() == 2 && IsFloatDtype(x_TD.scalar_type()) && x_TD.size(0) <= kMaxMixedTokens,
               "mix_experts: x must be [T, D] of a float dtype with T <= {}, got {} dims of {}", kMaxMixedTokens, x_TD.dim(),
               c10::toString(x_TD.scalar_type()));
  const int64_t T = x_TD.size(0), D = x_TD.size(1);
  FATHOM_CHECK(topk_idx_TK.dim() == 2 && topk_idx_TK.size(0) == T && topk_idx_TK.scalar_type() == at::kInt && weights_TK.sizes() == topk_idx_TK.sizes() &&
                   weights_TK.scalar_type() == at::kFloat,
               "mix_experts: weights must be [T, K] float32 and topk_idx [T, K] int32 with T = {}", T);
  FATHOM_CHECK(gate_up.dim() == 3 && down.dim() == 3 && gate_up.size(0) == down.size(0) && gate_up.size(2) == D && down.size(1) == D &&
                   gate_up.size(1) == 2 * down.size(2),
               "mix_experts: gate_up must be [E, 2F, D] and down [E, D, F] with D = {}", D);
  FATHOM_CHECK(shared_gate_up.has_value() == shared_down.has_value() &&
                   (!shared_down || (shared_gate_up->dim() == 2 && shared_down->dim() == 2 && shared_gate_up->size(1) == D && shared_down->size(0) == D &&
                                     shared_gate_up->size(0) == 2 * shared_down->size(1))),
               "mix_experts: shared_gate_up must be [2S, D] and shared_down [D, S] with D = {}, or neither", D);
  for (const Tensor* w : {&gate_up, &down, shared_gate_up ? &*shared_gate_up : &down, shared_down ? &*shared_down : &down}) {
    FATHOM_CHECK(w->scalar_type() == x_TD.scalar_type() && w->is_contiguous(), "mix_experts: x is {}, a weight {}; weights are contiguous and of x's dtype",
                 c10::toString(x_TD.scalar_type()), c10::toString(w->scalar_type()));
  }
  return MixExpertsOp::Call(x_TD.contiguous(), weights_TK.contiguous(), topk_idx_TK.contiguous(), gate_up, down, shared_gate_up, shared_down);
}

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("mix_experts", TORCH_FN(MixExpertsOneByOne)); }
TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("mix_experts", TORCH_FN(MixExpertsOp::NotDifferentiable)); }

}  // namespace fathom::ops
