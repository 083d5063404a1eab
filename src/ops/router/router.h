// The router of a mixture-of-experts layer: scores, groups, bias, top-k and renormalisation in one.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace fathom::ops {

// How scores are made from logits, and chosen. Sources: V2 (arXiv 2405.04434, 2.2), V3 (arXiv 2412.19437, 2.1.2).
//   score_func 0: s = softmax(logits); 1: s = sigmoid(logits).
//   choice = s + bias (bias [E] or none). With n_group > 1 the experts are n_group equal groups in order; a group's score is the sum of its two
//   best choices (group_top2 = true, V3) or its best (false, V2); only the best topk_group groups stay.
//   topk_idx = indices of the K best choices; weights = s at them; with norm_topk_prob divided by (their sum + 1e-20); times routed_scaling_factor.
struct RouterParams {
  int64_t top_k = 8;
  int64_t score_func = 1;
  int64_t n_group = 1;
  int64_t topk_group = 1;
  bool group_top2 = true;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1.0;
};

// logits [T, E] float32 -> (weights [T, K] float32, topk_idx [T, K] int32, best choice first; ties: the lower index).
// Differentiable: weights in logits.
std::tuple<at::Tensor, at::Tensor> route(const at::Tensor& logits_TE, const std::optional<at::Tensor>& bias_E, const RouterParams& params);

// The same from the hidden rows themselves: route(x w^T in float32, ...). x [T, D] of a float dtype, T <= kMaxLinearRows; w [E, D] float32 or
// bfloat16, contiguous. Inference only (Autograd throws).
std::tuple<at::Tensor, at::Tensor> route_tokens(const at::Tensor& x_TD, const at::Tensor& w_ED, const std::optional<at::Tensor>& bias_E,
                                                const RouterParams& params);

// The weights [T, K] for experts chosen before (replay of a rollout's choices): the same formula with topk_idx given.
at::Tensor route_replay(const at::Tensor& logits_TE, const at::Tensor& topk_idx_TK, const RouterParams& params);

}  // namespace fathom::ops
