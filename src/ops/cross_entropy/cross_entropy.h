// The next-token loss from hidden rows and the head's weight, without the whole [T, V] of logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace fathom::ops {

// A target that counts for nothing.
inline constexpr int64_t kIgnoredTarget = -100;

struct CrossEntropyOptions {
  std::optional<at::Tensor> weights_T;    // [T] float32: what each token counts; none: 1
  std::optional<at::Tensor> denominator;  // [1] float32 on the tensors' device: what the sum is divided by; none: the sum of the counted weights (at least one)
  double z_loss = 0;                      // PaLM (arXiv 2204.02311, 5): adds z_loss * lse^2 to each token's loss
  int64_t chunk_rows = 0;                 // rows of logits that exist at once; 0: as many as kLogitBytes hold
};

// Bytes of one chunk of logits.
inline constexpr int64_t kLogitBytes = int64_t{256} << 20;

struct CrossEntropy {
  at::Tensor loss;   // [] float32, differentiable in hidden and w
  at::Tensor nll_T;  // [T] float32, -log p(target) (0 where ignored, z_loss not in it); not differentiable
};

// loss = sum_t weight_t (lse_t - logit_t[target_t] + z_loss lse_t^2) / denominator,  logit_t = w h_t,  lse_t = log sum_v exp logit_t[v],
// over the tokens whose target is not kIgnoredTarget. hidden [T, D] and w [V, D] of one float dtype, targets [T] int64 in [0, V) or ignored.
// Logits have that dtype, sums are float32. With gradients wanted, the forward computes those of hidden and w too, chunk by chunk (the gradient
// of w is summed in float32): the memory is one chunk of logits, [T, D] and [V, D].
CrossEntropy linear_cross_entropy(const at::Tensor& hidden_TD, const at::Tensor& w_VD, const at::Tensor& targets_T, const CrossEntropyOptions& options = {});

}  // namespace fathom::ops
