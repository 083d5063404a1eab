// What keeps the load of a mixture's experts even: counts of their choices, and the balance loss on the router's scores.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <tuple>

namespace fathom::ops {

// How often each expert is chosen: topk_idx [T, K] int32 in [0, E) -> [E] int32.
at::Tensor count_choices(const at::Tensor& topk_idx_TK, int64_t num_experts);

// Terms of the balance loss of each group of tokens (rows cu[b] .. cu[b + 1]: a sequence of DeepSeek-V3, arXiv 2412.19437, 2.1.2; the whole batch in
// the auxiliary loss of Switch, arXiv 2101.03961). With n tokens in the group, count_e choices of expert e, s the router's scores (score_func as in
// ops/router/router.h):
//   f[b, e] = E / (K n) count_e,   P[b, e] = mean_t s[t, e] / sum_e' s[t, e'],   loss[b] = sum_e f[b, e] P[b, e]  (1 where all is even).
// logits [T, E] float32, topk_idx [T, K] int32, cu_seqlens [B + 1] int32 -> (f, P) [B, E] float32; an empty group gives zeros.
std::tuple<at::Tensor, at::Tensor> balance_terms(const at::Tensor& logits_TE, const at::Tensor& topk_idx_TK, const at::Tensor& cu_seqlens, int64_t score_func);

// The routing weights as they are, and in their backward the gradient of  scale * sum_b (n_b / T) loss[b]  goes to the logits besides their own:
// the loss joins the graph where the scores are made, whatever runs the layer again. f is a constant (the choices have no gradient).
// f [B, E] of balance_terms; scale [1] float32 on the device (alpha, and what the loss is multiplied by).
at::Tensor attach_balance_loss(const at::Tensor& weights_TK, const at::Tensor& logits_TE, const at::Tensor& f_BE, const at::Tensor& cu_seqlens,
                               const at::Tensor& scale, int64_t score_func);

}  // namespace fathom::ops
