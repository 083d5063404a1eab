#include "ops/balance/balance.h"

#include <torch/library.h>

#include "base/error.h"
#include "ops/library.h"

namespace fathom::ops {

Tensor count_choices(const Tensor& topk_idx_TK, int64_t num_experts) {
  FATHOM_CHECK(topk_idx_TK.scalar_type() == at::kInt && num_experts > 0, "count_choices: choices must be int32 of at least one expert");
  return CountChoicesOp::CallBelowAutograd(topk_idx_TK.contiguous(), num_experts);
}

std::tuple<Tensor, Tensor> balance_terms(const Tensor& logits_TE, const Tensor& topk_idx_TK, const Tensor& cu_seqlens, int64_t score_func) {
  FATHOM_CHECK(logits_TE.dim() == 2 && logits_TE.scalar_type() == at::kFloat && topk_idx_TK.dim() == 2 && topk_idx_TK.size(0) == logits_TE.size(0) &&
                   topk_idx_TK.scalar_type() == at::kInt,
               "balance_terms: logits must be [T, E] float32 and topk_idx [T, K] int32");
  FATHOM_CHECK(cu_seqlens.dim() == 1 && cu_seqlens.size(0) >= 1 && cu_seqlens.scalar_type() == at::kInt, "balance_terms: cu_seqlens must be [B + 1] int32");
  return BalanceTermsOp::CallBelowAutograd(logits_TE.contiguous(), topk_idx_TK.contiguous(), cu_seqlens.contiguous(), score_func);
}

TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("count_choices", TORCH_FN(CountChoicesOp::NotDifferentiable));
  m.impl("balance_terms", TORCH_FN(BalanceTermsOp::NotDifferentiable));
  m.impl("balance_backward", TORCH_FN(BalanceBackwardOp::NotDifferentiable));
}

}  // namespace fathom::ops
