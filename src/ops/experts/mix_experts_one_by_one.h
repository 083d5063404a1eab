// mix_experts by the operators that it joins: the CPU's implementation, and every device's where its own kernels do not take the shape.
#pragma once

#include <ATen/ops/add.h>

#include <optional>

#include "ops/library.h"

namespace fathom::ops {

inline Tensor MixExpertsOneByOne(const Tensor& x_TD, const Tensor& weights_TK, const Tensor& topk_idx_TK, const Tensor& gate_up, const Tensor& down,
                                 const OptionalTensor& shared_gate_up, const OptionalTensor& shared_down) {
  const auto [order, offsets] = SortByExpertOp::CallBelowAutograd(topk_idx_TK, gate_up.size(0));
  const Tensor x_MD = GatherTokensOp::CallBelowAutograd(x_TD, order, topk_idx_TK.size(1));
  const Tensor inner_MF = SwigluOp::CallBelowAutograd(GroupedLinearOp::CallBelowAutograd(x_MD, gate_up, offsets));
  const Tensor routed_TD = CombineTokensOp::CallBelowAutograd(GroupedLinearOp::CallBelowAutograd(inner_MF, down, offsets), order, weights_TK);
  if (!shared_gate_up) return routed_TD;
  const Tensor inner_TS = SwigluOp::CallBelowAutograd(LinearRowsOp::CallBelowAutograd(x_TD, *shared_gate_up, std::nullopt));
  return at::add(routed_TD, LinearRowsOp::CallBelowAutograd(inner_TS, *shared_down, std::nullopt));
}

}  // namespace fathom::ops
