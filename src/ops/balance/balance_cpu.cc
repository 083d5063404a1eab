#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

// Scores divided by their sum. Softmax's sum is 1.
void NormalScores(const float* logits, int64_t E, int64_t score_func, float* p, float* s) {
  float sum = 0, top = *std::max_element(logits, logits + E);
  for (int64_t e = 0; e < E; ++e) sum += s[e] = score_func == 1 ? 1 / (1 + std::exp(-logits[e])) : std::exp(logits[e] - top);
  for (int64_t e = 0; e < E; ++e) p[e] = s[e] / sum;
}

Tensor CountChoicesCpu(const Tensor& topk_idx, int64_t num_experts) {
  Tensor counts = at::zeros({num_experts}, topk_idx.options());
  const int32_t* chosen = topk_idx.const_data_ptr<int32_t>();
  int32_t* count = counts.mutable_data_ptr<int32_t>();
  for (int64_t i = 0; i < topk_idx.numel(); ++i) {
    FATHOM_CHECK(chosen[i] >= 0 && chosen[i] < num_experts, "count_choices: expert {} of {}", chosen[i], num_experts);
    ++count[chosen[i]];
  }
  return counts;
}

std::tuple<Tensor, Tensor> BalanceTermsCpu(const Tensor& logits_TE, const Tensor& topk_idx_TK, const Tensor& cu_seqlens, int64_t score_func) {
  const int64_t E = logits_TE.size(1), K = topk_idx_TK.size(1), B = cu_seqlens.size(0) - 1;
  Tensor f_BE = at::zeros({B, E}, logits_TE.options()), p_BE = at::zeros({B, E}, logits_TE.options());
  const float* logits = logits_TE.const_data_ptr<float>();
  const int32_t *chosen = topk_idx_TK.const_data_ptr<int32_t>(), *cu = cu_seqlens.const_data_ptr<int32_t>();
  float *f = f_BE.mutable_data_ptr<float>(), *p = p_BE.mutable_data_ptr<float>();
  at::parallel_for(0, B, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> normal(static_cast<size_t>(E)), scores(static_cast<size_t>(E));
    for (int64_t b = begin; b < end; ++b) {
      const int64_t n = cu[b + 1] - cu[b];
      if (n <= 0) continue;
      for (int64_t t = cu[b]; t < cu[b + 1]; ++t) {
        NormalScores(logits + t * E, E, score_func, normal.data(), scores.data());
        for (int64_t e = 0; e < E; ++e) p[b * E + e] += normal[static_cast<size_t>(e)];
        for (int64_t k = 0; k < K; ++k) f[b * E + chosen[t * K + k]] += 1;
      }
      for (int64_t e = 0; e < E; ++e) {
        p[b * E + e] /= static_cast<float>(n);
        f[b * E + e] *= static_cast<float>(E) / static_cast<float>(K * n);
      }
    }
  });
  return {f_BE, p_BE};
}

// d/dlogits of scale / T sum_b sum_t sum_e f_e p_te, with p = s / sum s: dL/ds_e = (f_e - sum f p) / sum s.
Tensor BalanceBackwardCpu(const Tensor& logits_TE, const Tensor& f_BE, const Tensor& cu_seqlens, const Tensor& scale, int64_t score_func) {
  const int64_t T = logits_TE.size(0), E = logits_TE.size(1), B = f_BE.size(0);
  Tensor dlogits_TE = at::zeros(logits_TE.sizes(), logits_TE.options());
  const float *logits = logits_TE.const_data_ptr<float>(), *f = f_BE.const_data_ptr<float>();
  const int32_t* cu = cu_seqlens.const_data_ptr<int32_t>();
  float* out = dlogits_TE.mutable_data_ptr<float>();
  const float factor = *scale.const_data_ptr<float>() / static_cast<float>(std::max<int64_t>(T, 1));
  at::parallel_for(0, B, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> normal(static_cast<size_t>(E)), scores(static_cast<size_t>(E));
    for (int64_t b = begin; b < end; ++b) {
      for (int64_t t = cu[b]; t < cu[b + 1]; ++t) {
        NormalScores(logits + t * E, E, score_func, normal.data(), scores.data());
        float dot = 0;
        for (int64_t e = 0; e < E; ++e) dot += f[b * E + e] * normal[static_cast<size_t>(e)];
        for (int64_t e = 0; e < E; ++e) {
          const float p = normal[static_cast<size_t>(e)], s = scores[static_cast<size_t>(e)];
          // Through the sigmoid s (1 - s) / sum s = p (1 - s); through the exponential s / sum s = p.
          out[t * E + e] = factor * (f[b * E + e] - dot) * p * (score_func == 1 ? 1 - s : 1.0f);
        }
      }
    }
  });
  return dlogits_TE;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("count_choices", TORCH_FN(CountChoicesCpu));
  m.impl("balance_terms", TORCH_FN(BalanceTermsCpu));
  m.impl("balance_backward", TORCH_FN(BalanceBackwardCpu));
}

}  // namespace fathom::ops
