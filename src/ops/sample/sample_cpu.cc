#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <numeric>

#include "ops/library.h"
#include "ops/sample/sample.h"

namespace fathom::ops {
namespace {

template <typename T>
int32_t ArgMax(std::span<const T> row) {
  int64_t best = -1;
  T best_value = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < std::ssize(row); ++i) {
    if (row[i] > best_value) {
      best_value = row[i];
      best = i;
    }
  }
  return best >= 0 && std::isfinite(best_value) ? static_cast<int32_t>(best) : -1;
}

// The same among some.
int32_t ArgMaxOf(std::span<const float> row, std::span<const uint32_t> allowed) {
  int32_t best = -1;
  float best_value = -std::numeric_limits<float>::infinity();
  for (size_t w = 0; w < allowed.size(); ++w) {
    for (uint32_t word = allowed[w]; word != 0; word &= word - 1) {
      const size_t i = w * 32 + static_cast<size_t>(std::countr_zero(word));
      if (i >= row.size() || !(row[i] > best_value)) continue;
      best_value = row[i];
      best = static_cast<int32_t>(i);
    }
  }
  return std::isfinite(best_value) ? best : -1;
}

bool MoreProbable(const TokenProbability& a, const TokenProbability& b) {
  return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
}

// Leaves the most probable tokens, while the sum of those before is below top_p of the whole.
void CutToTopP(std::vector<TokenProbability>& kept, double top_p) {
  const double limit = top_p * std::accumulate(kept.begin(), kept.end(), 0.0, [](double sum, const auto& t) { return sum + t.probability; });
  const auto less_probable = [](const auto& a, const auto& b) { return MoreProbable(b, a); };
  std::make_heap(kept.begin(), kept.end(), less_probable);
  // A heap gives the few best without sorting the whole vocabulary; those taken gather at the end.
  auto heap_end = kept.end();
  double before = 0;
  do {
    std::pop_heap(kept.begin(), heap_end, less_probable);
    before += (--heap_end)->probability;
  } while (before < limit && heap_end != kept.begin());
  kept.erase(kept.begin(), heap_end);
}

}  // namespace

std::vector<double> PenalizedScores(std::span<const float> logits_V, const SampleRow& row) {
  std::vector<double> scores(logits_V.begin(), logits_V.end());
  for (const SeenToken& seen : row.seen) {
    if (seen.token < 0 || seen.token >= std::ssize(scores)) continue;
    double& score = scores[static_cast<size_t>(seen.token)];
    score += seen.bias;
    if (seen.count >= 0) score = score < 0 ? score * row.repetition_penalty : score / row.repetition_penalty;
    if (seen.count > 0) score -= row.presence_penalty + static_cast<double>(seen.count) * row.frequency_penalty;
  }
  for (size_t w = 0; w < row.allowed.size(); ++w) {
    if (row.allowed[w] == ~uint32_t{0}) continue;
    const size_t end = std::min(scores.size(), w * 32 + 32);
    for (size_t i = w * 32; i < end; ++i) {
      if ((row.allowed[w] >> (i % 32) & 1) == 0) scores[i] = -std::numeric_limits<double>::infinity();
    }
  }
  return scores;
}

std::vector<TokenProbability> SamplingDistribution(std::span<const double> scores_V, const SampleRow& row) {
  const double best = scores_V[static_cast<size_t>(ArgMax(scores_V))];
  double threshold = -std::numeric_limits<double>::infinity();
  if (row.top_k > 0 && row.top_k < std::ssize(scores_V)) {
    std::vector<double> sorted(scores_V.begin(), scores_V.end());
    const auto kth = sorted.begin() + (row.top_k - 1);
    std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
    threshold = *kth;
  }
  std::vector<TokenProbability> kept;
  for (int64_t i = 0; i < std::ssize(scores_V); ++i) {
    if (!(scores_V[i] >= threshold) || scores_V[i] == -std::numeric_limits<double>::infinity()) continue;  // NaN goes too
    kept.push_back({static_cast<int32_t>(i), std::exp((scores_V[i] - best) / row.temperature)});
  }
  if (row.top_p < 1.0) CutToTopP(kept, row.top_p);
  if (row.min_p > 0) std::erase_if(kept, [&](const TokenProbability& t) { return t.probability < row.min_p; });  // the best has 1
  std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
  const double sum = std::accumulate(kept.begin(), kept.end(), 0.0, [](double s, const auto& t) { return s + t.probability; });
  for (TokenProbability& t : kept) t.probability /= sum;
  return kept;
}

int32_t ChooseToken(std::span<const float> logits_V, const SampleRow& row) {
  if (row.is_greedy()) return row.allowed.empty() ? ArgMax(logits_V) : ArgMaxOf(logits_V, row.allowed);
  const std::vector<double> scores = PenalizedScores(logits_V, row);
  const int32_t best = ArgMax(std::span<const double>(scores));
  if (row.temperature == 0 || best < 0) return best;
  const std::vector<TokenProbability> distribution = SamplingDistribution(scores, row);
  double below = 0;
  for (const TokenProbability& t : distribution) {
    below += t.probability;
    if (row.uniform < below) return t.token;
  }
  return distribution.back().token;  // where rounding leaves the sum under `uniform`
}

namespace {

Tensor SampleTokensCpu(const Tensor& logits_BV, const Tensor& settings, const Tensor& biases, const Tensor& seen, const Tensor& limits) {
  const Tensor logits = logits_BV.to(at::kFloat).contiguous();
  const int64_t B = logits.size(0), V = logits.size(1);
  Tensor tokens = at::empty({B}, at::TensorOptions().dtype(at::kLong));
  const double *setting = settings.const_data_ptr<double>(), *bias = biases.const_data_ptr<double>();
  const int32_t *pair = seen.const_data_ptr<int32_t>(), *limit = limits.const_data_ptr<int32_t>();
  const float* values = logits.const_data_ptr<float>();
  int64_t* chosen = tokens.mutable_data_ptr<int64_t>();
  at::parallel_for(0, B, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      std::vector<SeenToken> list;
      for (int32_t i = limit[b]; i < limit[b + 1]; ++i) list.push_back({pair[2 * i], pair[2 * i + 1], bias[i]});
      const double* s = setting + 8 * b;
      chosen[b] = ChooseToken({values + b * V, static_cast<size_t>(V)}, {.temperature = s[0], .top_k = static_cast<int64_t>(s[1]), .top_p = s[2], .min_p = s[3],
                                                                         .repetition_penalty = s[4], .presence_penalty = s[5], .frequency_penalty = s[6],
                                                                         .uniform = s[7], .seen = list});
    }
  });
  return tokens;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("sample_tokens", TORCH_FN(SampleTokensCpu)); }

}  // namespace fathom::ops
