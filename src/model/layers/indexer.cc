// Legend: T packed tokens, D hidden_size, Q q_lora_rank, H index heads, d index_head_dim, n queries and S keys of one sequence.
#include "model/layers/indexer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/topk.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/rope/rope.h"

namespace fathom {
namespace {

constexpr double kNormEps = 1e-6;
constexpr int64_t kQueriesAtOnce = 64;  // bounds the scores of all heads

// In the indexer the rotary dimensions come first, and are not interleaved.
at::Tensor RotateFirst(const at::Tensor& x_THd, int64_t rope_dim, const LayerStep& step) {
  const at::Tensor rotated = ops::rope(x_THd.narrow(2, 0, rope_dim), step.cos_TD, step.sin_TD, /*interleaved=*/false);
  if (rope_dim == x_THd.size(2)) return rotated;
  return at::cat({rotated, x_THd.narrow(2, rope_dim, x_THd.size(2) - rope_dim)}, 2);
}

}  // namespace

Indexer::Indexer(const ModelConfig& config, int64_t layer_idx, WeightStore& store)
    : num_heads_(config.index_n_heads),
      head_dim_(config.index_head_dim),
      rope_dim_(config.qk_rope_head_dim),
      q_b_(store.MakeLinear({WeightRole::kIndexQB}, layer_idx)),
      k_(store.MakeLinear({WeightRole::kIndexK}, layer_idx)),
      weights_(Linear(nullptr, std::nullopt)),
      k_norm_weight_(store.Tensor({WeightRole::kIndexKNorm}, layer_idx)),
      k_norm_bias_(store.Tensor({WeightRole::kIndexKNorm}, layer_idx, /*is_bias=*/true)) {
  weights_ = store.MakeLinear({WeightRole::kIndexWeights}, layer_idx);
}

void Indexer::Fill(const at::Tensor& x_TD, const at::Tensor& q_latent_TQ, const LayerStep& step, MlaInputs& inputs) const {
  const at::NoGradGuard no_grad;
  const int64_t T = x_TD.size(0);
  inputs.index_q_THD = RotateFirst(q_b_(q_latent_TQ).view({T, num_heads_, head_dim_}), rope_dim_, step);
  const at::Tensor k_Td = at::layer_norm(k_(x_TD), {head_dim_}, k_norm_weight_, k_norm_bias_, kNormEps);
  inputs.index_k_TD = RotateFirst(k_Td.unsqueeze(1), rope_dim_, step).squeeze(1);
  inputs.index_weights_TH = weights_(x_TD.to(at::kFloat)).mul(1.0 / std::sqrt(static_cast<double>(num_heads_)));
}

at::Tensor ChooseKeys(const at::Tensor& q_nHd, const at::Tensor& k_Sd, const at::Tensor& weights_nH, int64_t topk) {
  const at::NoGradGuard no_grad;
  const int64_t n = q_nHd.size(0), H = q_nHd.size(1), d = q_nHd.size(2), S = k_Sd.size(0);
  const double scale = 1.0 / std::sqrt(static_cast<double>(d));
  const at::Tensor k_dS = k_Sd.to(at::kFloat).t();
  const at::Tensor key_S = at::arange(S, weights_nH.options().dtype(at::kLong));
  if (n == 0) return at::empty({0, std::min(topk, S)}, weights_nH.options().dtype(at::kInt));
  std::vector<at::Tensor> chosen;
  for (int64_t first = 0; first < n; first += kQueriesAtOnce) {
    const int64_t c = std::min(kQueriesAtOnce, n - first);
    const at::Tensor q = q_nHd.narrow(0, first, c).to(at::kFloat).reshape({c * H, d});
    const at::Tensor scores = at::matmul(q, k_dS).mul_(scale).relu_().view({c, H, S});
    at::Tensor index = at::matmul(weights_nH.narrow(0, first, c).unsqueeze(1), scores).squeeze(1);  // [c, S]
    const at::Tensor last_c = at::arange(S - n + first, S - n + first + c, key_S.options());
    index.masked_fill_(key_S.unsqueeze(0).gt(last_c.unsqueeze(1)), -std::numeric_limits<double>::infinity());
    // Keys whose heads are all below zero tie at exactly 0. The library's choice among them is transformers' choice too, row by row.
    chosen.push_back(std::get<1>(at::topk(index, std::min(topk, S), -1)).to(at::kInt));
  }
  return at::cat(chosen, 0);
}

}  // namespace fathom
