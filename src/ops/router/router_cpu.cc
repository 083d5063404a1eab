#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kSoftmax = 0;
constexpr float kNormEpsilon = 1e-20f;
constexpr int64_t kGrainRows = 32;

void Scores(const float* logits, int64_t E, int64_t score_func, float* scores) {
  if (score_func != kSoftmax) {
    for (int64_t e = 0; e < E; ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
    return;
  }
  const float max = *std::max_element(logits, logits + E);
  float sum = 0;
  for (int64_t e = 0; e < E; ++e) sum += scores[e] = std::exp(logits[e] - max);
  for (int64_t e = 0; e < E; ++e) scores[e] /= sum;
}

// Indices of the `count` largest values that `allowed` admits, best first, ties to the lower index; values that are NaN come last.
void TopK(const float* values, const std::vector<bool>& allowed, int64_t n, int64_t count, std::vector<bool>& taken, int32_t* out) {
  taken.assign(n, false);
  for (int64_t k = 0; k < count; ++k) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; ++i) {
      if (taken[i] || !allowed[i]) continue;
      if (best < 0 || values[i] > values[best] || (std::isnan(values[best]) && !std::isnan(values[i]))) best = i;
    }
    taken[best] = true;
    out[k] = static_cast<int32_t>(best);
  }
}

float GroupScore(const float* choice, int64_t size, bool top2) {
  float first = -std::numeric_limits<float>::infinity(), second = first;
  for (int64_t i = 0; i < size; ++i) {
    if (choice[i] > first) {
      second = first;
      first = choice[i];
    } else if (choice[i] > second) {
      second = choice[i];
    }
  }
  return top2 && size > 1 ? first + second : first;
}

// weights[k] = scores[idx[k]], normalised over the chosen and scaled.
void Weights(const float* scores, const int32_t* idx, int64_t K, bool normalise, float scaling, float* weights) {
  float sum = 0;
  for (int64_t k = 0; k < K; ++k) sum += weights[k] = scores[idx[k]];
  const float factor = normalise ? scaling / (sum + kNormEpsilon) : scaling;
  for (int64_t k = 0; k < K; ++k) weights[k] *= factor;
}

std::tuple<Tensor, Tensor> RouteCpu(const Tensor& logits, const OptionalTensor& bias, int64_t top_k, int64_t score_func, int64_t n_group,
                                    int64_t topk_group, bool group_top2, bool norm_topk_prob, double scaling) {
  const int64_t T = logits.size(0), E = logits.size(1), group_size = E / n_group;
  Tensor weights = at::empty({T, top_k}, logits.options()), topk_idx = at::empty({T, top_k}, logits.options().dtype(at::kInt));
  const float *lp = logits.const_data_ptr<float>(), *bp = bias ? bias->const_data_ptr<float>() : nullptr;
  float* wp = weights.mutable_data_ptr<float>();
  int32_t* ip = topk_idx.mutable_data_ptr<int32_t>();
  at::parallel_for(0, T, kGrainRows, [&](int64_t begin, int64_t end) {
    std::vector<float> scores(E), choice(E), group_scores(n_group);
    std::vector<int32_t> groups(topk_group);
    std::vector<bool> allowed(E, true), taken, every_group(n_group, true);
    for (int64_t t = begin; t < end; ++t) {
      Scores(lp + t * E, E, score_func, scores.data());
      for (int64_t e = 0; e < E; ++e) choice[e] = scores[e] + (bp ? bp[e] : 0.0f);
      if (topk_group < n_group) {
        for (int64_t g = 0; g < n_group; ++g) group_scores[g] = GroupScore(choice.data() + g * group_size, group_size, group_top2);
        TopK(group_scores.data(), every_group, n_group, topk_group, taken, groups.data());
        allowed.assign(E, false);
        for (const int32_t g : groups) std::fill_n(allowed.begin() + g * group_size, group_size, true);
      }
      TopK(choice.data(), allowed, E, top_k, taken, ip + t * top_k);
      Weights(scores.data(), ip + t * top_k, top_k, norm_topk_prob, static_cast<float>(scaling), wp + t * top_k);
    }
  });
  return {weights, topk_idx};
}

Tensor RouteReplayCpu(const Tensor& logits, const Tensor& topk_idx, int64_t score_func, bool norm_topk_prob, double scaling) {
  const int64_t T = logits.size(0), E = logits.size(1), K = topk_idx.size(1);
  Tensor weights = at::empty({T, K}, logits.options());
  const float* lp = logits.const_data_ptr<float>();
  const int32_t* ip = topk_idx.const_data_ptr<int32_t>();
  float* wp = weights.mutable_data_ptr<float>();
  at::parallel_for(0, T, kGrainRows, [&](int64_t begin, int64_t end) {
    std::vector<float> scores(E);
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t k = 0; k < K; ++k) {
        FATHOM_CHECK(ip[t * K + k] >= 0 && ip[t * K + k] < E, "route_replay: expert {} of {}", ip[t * K + k], E);
      }
      Scores(lp + t * E, E, score_func, scores.data());
      Weights(scores.data(), ip + t * K, K, norm_topk_prob, static_cast<float>(scaling), wp + t * K);
    }
  });
  return weights;
}

// ds[idx[k]] = scaling * dw[k], or with normalisation by S = sum s + eps: scaling / S * (dw[k] - sum_j dw[j] s_j / S);
// then through the softmax, dl = s (ds - sum ds s), or the sigmoid, dl = ds s (1 - s).
Tensor RouteBackwardCpu(const Tensor& dweights, const Tensor& logits, const Tensor& topk_idx, int64_t score_func, bool norm_topk_prob,
                        double scaling) {
  const int64_t T = logits.size(0), E = logits.size(1), K = topk_idx.size(1);
  Tensor dlogits = at::zeros({T, E}, logits.options());
  const Tensor grad = dweights.contiguous();
  const float *lp = logits.const_data_ptr<float>(), *gp = grad.const_data_ptr<float>();
  const int32_t* ip = topk_idx.const_data_ptr<int32_t>();
  float* dp = dlogits.mutable_data_ptr<float>();
  at::parallel_for(0, T, kGrainRows, [&](int64_t begin, int64_t end) {
    std::vector<float> s(E);
    for (int64_t t = begin; t < end; ++t) {
      const int32_t* idx = ip + t * K;
      const float* dw = gp + t * K;
      float* dl = dp + t * E;
      Scores(lp + t * E, E, score_func, s.data());
      float factor = static_cast<float>(scaling), mean = 0;
      if (norm_topk_prob) {
        float sum = kNormEpsilon, weighted = 0;
        for (int64_t k = 0; k < K; ++k) {
          sum += s[idx[k]];
          weighted += dw[k] * s[idx[k]];
        }
        factor /= sum;
        mean = weighted / sum;
      }
      float dot = 0;
      for (int64_t k = 0; k < K; ++k) {
        const float ds = factor * (dw[k] - mean);
        dl[idx[k]] += ds;
        dot += ds * s[idx[k]];
      }
      for (int64_t e = 0; e < E; ++e) dl[e] = score_func == kSoftmax ? s[e] * (dl[e] - dot) : dl[e] * s[e] * (1.0f - s[e]);
    }
  });
  return dlogits;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("route", TORCH_FN(RouteCpu));
  m.impl("route_replay", TORCH_FN(RouteReplayCpu));
  m.impl("route_backward", TORCH_FN(RouteBackwardCpu));
}

}  // namespace fathom::ops
