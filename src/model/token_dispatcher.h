// Seam 3: where experts live. A mixture hands over its tokens and their choices; the dispatcher brings rows to their experts and back.
// Legend: T tokens, D model width, K chosen experts, M rows sorted by expert, E experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace fathom {

// The experts of one place: rows [M, D] sorted by local expert, with offsets [E_local + 1] int32 -> [M, D].
using ExpertFunction = std::function<at::Tensor(const at::Tensor& x_MD, const at::Tensor& offsets)>;

class TokenDispatcher {
 public:
  virtual ~TokenDispatcher() = default;
  // y[t] = sum_k weights[t, k] * experts(x[t]) for expert topk_idx[t, k]. [T, D]. Differentiable in x and weights.
  virtual at::Tensor Run(const at::Tensor& x_TD, const at::Tensor& topk_idx_TK, const at::Tensor& weights_TK, int64_t num_experts,
                         const ExpertFunction& experts) const = 0;
};

// Every expert is here: sort, grouped products, weighted sum.
const TokenDispatcher& LocalDispatcher();

}  // namespace fathom
