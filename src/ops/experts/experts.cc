#include "ops/experts/experts.h"

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

void CheckOrder(const char* op, const Tensor& order) {
  FATHOM_CHECK(order.dim() == 1 && order.scalar_type() == at::kInt && order.is_contiguous(), "{}: order must be [T*K] int32, contiguous", op);
}

void CheckGroups(const char* op, const Tensor& a, const Tensor& b, const Tensor& offsets, int64_t num_experts) {
  FATHOM_CHECK(IsFloatDtype(a.scalar_type()) && a.scalar_type() == b.scalar_type(), "{}: one float dtype, got {} and {}", op,
               c10::toString(a.scalar_type()), c10::toString(b.scalar_type()));
  FATHOM_CHECK(offsets.dim() == 1 && offsets.scalar_type() == at::kInt && (num_experts < 0 || offsets.size(0) == num_experts + 1),
               "{}: offsets must be [E + 1] int32, got {} values for E = {}", op, offsets.numel(), num_experts);
}

}  // namespace

std::tuple<Tensor, Tensor> sort_by_expert(const Tensor& topk_idx_TK, int64_t num_experts) {
  FATHOM_CHECK(topk_idx_TK.dim() == 2 && topk_idx_TK.scalar_type() == at::kInt, "sort_by_expert: topk_idx must be [T, K] int32, got {} dims of {}",
               topk_idx_TK.dim(), c10::toString(topk_idx_TK.scalar_type()));
  return SortByExpertOp::Call(topk_idx_TK.contiguous(), num_experts);
}

Tensor gather_tokens(const Tensor& x_TD, const Tensor& order, int64_t top_k) {
  CheckOrder("gather_tokens", order);
  FATHOM_CHECK(x_TD.dim() == 2 && IsFloatDtype(x_TD.scalar_type()) && order.numel() == x_TD.size(0) * top_k,
               "gather_tokens: x [T, D] of a float dtype with T * top_k = {} rows, got {}", order.numel(), x_TD.dim() ? x_TD.size(0) : 0);
  return GatherTokensOp::Call(x_TD.contiguous(), order, top_k);
}

Tensor combine_tokens(const Tensor& x_sorted, const Tensor& order, const Tensor& weights_TK) {
  CheckOrder("combine_tokens", order);
  FATHOM_CHECK(x_sorted.dim() == 2 && IsFloatDtype(x_sorted.scalar_type()) && x_sorted.size(0) == order.numel(),
               "combine_tokens: x must be [T*K, D] of a float dtype with {} rows", order.numel());
  FATHOM_CHECK(weights_TK.dim() == 2 && weights_TK.scalar_type() == at::kFloat && weights_TK.numel() == order.numel(),
               "combine_tokens: weights must be [T, K] float32 with {} values, got {}", order.numel(), weights_TK.numel());
  return CombineTokensOp::Call(x_sorted.contiguous(), order, weights_TK.contiguous());
}

Tensor grouped_linear(const Tensor& x_MK, const Tensor& w_ENK, const Tensor& offsets) {
  CheckGroups("grouped_linear", x_MK, w_ENK, offsets, w_ENK.dim() ? w_ENK.size(0) : 0);
  FATHOM_CHECK(x_MK.dim() == 2 && w_ENK.dim() == 3 && x_MK.size(1) == w_ENK.size(2), "grouped_linear: x [M, K] and w [E, N, K] must agree in K");
  return GroupedLinearOp::Call(x_MK.contiguous(), w_ENK.contiguous(), offsets);
}

Tensor grouped_linear_dgrad(const Tensor& dy_MN, const Tensor& w_ENK, const Tensor& offsets) {
  CheckGroups("grouped_linear_dgrad", dy_MN, w_ENK, offsets, w_ENK.dim() ? w_ENK.size(0) : 0);
  FATHOM_CHECK(dy_MN.dim() == 2 && w_ENK.dim() == 3 && dy_MN.size(1) == w_ENK.size(1),
               "grouped_linear_dgrad: dy [M, N] and w [E, N, K] must agree in N");
  return GroupedLinearDgradOp::Call(dy_MN.contiguous(), w_ENK.contiguous(), offsets);
}

Tensor grouped_linear_wgrad(const Tensor& dy_MN, const Tensor& x_MK, const Tensor& offsets) {
  CheckGroups("grouped_linear_wgrad", dy_MN, x_MK, offsets, -1);
  FATHOM_CHECK(dy_MN.dim() == 2 && x_MK.dim() == 2 && dy_MN.size(0) == x_MK.size(0), "grouped_linear_wgrad: dy [M, N] and x [M, K] must agree in M");
  return GroupedLinearWgradOp::Call(dy_MN.contiguous(), x_MK.contiguous(), offsets);
}

}  // namespace fathom::ops
