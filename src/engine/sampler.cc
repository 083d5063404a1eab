#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace fathom {
namespace {

bool HasPenalties(const SamplingParams& params) {
  return !params.logit_bias.empty() || params.repetition_penalty != 1.0 || params.presence_penalty != 0.0 || params.frequency_penalty != 0.0;
}

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
  if (best < 0) ThrowMachineError("the model gave no finite logit: its weights are broken, or --dtype is too narrow for it");
  return static_cast<int32_t>(best);
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

TokenHistory::TokenHistory(std::span<const int32_t> prompt) : seen_(prompt.begin(), prompt.end()) {}

void TokenHistory::Append(int32_t token) {
  seen_.insert(token);
  ++counts_[token];
}

std::vector<double> PenalizedScores(std::span<const float> logits_V, const SamplingParams& params, const TokenHistory& history) {
  std::vector<double> scores(logits_V.begin(), logits_V.end());
  const auto in_range = [&](int32_t token) { return token >= 0 && token < std::ssize(scores); };
  for (const auto& [token, bias] : params.logit_bias) {
    if (in_range(token)) scores[token] += bias;
  }
  if (params.repetition_penalty != 1.0) {
    for (const int32_t token : history.seen()) {
      if (!in_range(token)) continue;
      scores[token] = scores[token] < 0 ? scores[token] * params.repetition_penalty : scores[token] / params.repetition_penalty;
    }
  }
  for (const auto& [token, count] : history.answer_counts()) {
    if (in_range(token)) scores[token] -= params.presence_penalty + static_cast<double>(count) * params.frequency_penalty;
  }
  return scores;
}

std::vector<TokenProbability> SamplingDistribution(std::span<const double> scores_V, const SamplingParams& params) {
  const double best = scores_V[ArgMax(scores_V)];
  double threshold = -std::numeric_limits<double>::infinity();
  if (params.top_k > 0 && params.top_k < std::ssize(scores_V)) {
    std::vector<double> sorted(scores_V.begin(), scores_V.end());
    const auto kth = sorted.begin() + (params.top_k - 1);
    std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
    threshold = *kth;
  }
  std::vector<TokenProbability> kept;
  for (int64_t i = 0; i < std::ssize(scores_V); ++i) {
    if (!(scores_V[i] >= threshold)) continue;  // NaN goes too
    kept.push_back({static_cast<int32_t>(i), std::exp((scores_V[i] - best) / params.temperature)});
  }
  if (params.top_p < 1.0) CutToTopP(kept, params.top_p);
  if (params.min_p > 0) std::erase_if(kept, [&](const TokenProbability& t) { return t.probability < params.min_p; });  // the best has 1
  std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
  const double sum = std::accumulate(kept.begin(), kept.end(), 0.0, [](double s, const auto& t) { return s + t.probability; });
  for (TokenProbability& t : kept) t.probability /= sum;
  return kept;
}

Sampler::Sampler(const SamplingParams& params, std::span<const int32_t> prompt, uint64_t stream)
    : params_(params), history_(prompt), random_(params.seed, stream) {}

int32_t Sampler::Choose(std::span<const float> logits_V) {
  int32_t token = 0;
  if (params_.temperature == 0 && !HasPenalties(params_)) {
    token = ArgMax(logits_V);
  } else {
    const std::vector<double> scores = PenalizedScores(logits_V, params_, history_);
    if (params_.temperature == 0) {
      token = ArgMax(std::span<const double>(scores));
    } else {
      const std::vector<TokenProbability> distribution = SamplingDistribution(scores, params_);
      const double u = random_.Uniform();
      double below = 0;
      token = distribution.back().token;  // where rounding leaves the sum under u
      for (const TokenProbability& t : distribution) {
        below += t.probability;
        if (u < below) {
          token = t.token;
          break;
        }
      }
    }
  }
  history_.Append(token);
  return token;
}

TokenLogprob LogprobsOf(std::span<const float> logits_V, int32_t chosen, int64_t num_top) {
  const double best = logits_V[ArgMax(logits_V)];
  double sum = 0;
  for (const float logit : logits_V) sum += std::exp(logit - best);
  const double log_sum = best + std::log(sum);
  TokenLogprob result{.token = chosen, .logprob = logits_V[chosen] - log_sum};
  std::vector<int32_t> ids(logits_V.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto middle = ids.begin() + std::min<int64_t>(num_top, std::ssize(ids));
  std::partial_sort(ids.begin(), middle, ids.end(),
                    [&](int32_t a, int32_t b) { return logits_V[a] != logits_V[b] ? logits_V[a] > logits_V[b] : a < b; });
  for (auto it = ids.begin(); it != middle; ++it) result.top.emplace_back(*it, logits_V[*it] - log_sum);
  return result;
}

void CheckSampling(const SamplingParams& params) {
  const auto check = [](const char* flag, double value, double least, double most, const char* rule) {
    FATHOM_USER_CHECK(value >= least && value <= most, "{} must be {}, got {}", flag, rule, value);  // NaN fails
  };
  constexpr double kMost = std::numeric_limits<double>::max();
  check("--temperature", params.temperature, 0, kMost, "a number of at least 0");
  check("--top-p", params.top_p, 0, 1, "from 0 to 1");
  check("--min-p", params.min_p, 0, 1, "from 0 to 1");
  check("--repetition-penalty", params.repetition_penalty, std::numeric_limits<double>::min(), kMost, "above 0");
  check("--presence-penalty", params.presence_penalty, -kMost, kMost, "a number");
  check("--frequency-penalty", params.frequency_penalty, -kMost, kMost, "a number");
  FATHOM_USER_CHECK(params.top_k >= 0, "--top-k must be an integer of at least 0 (0 is off), got {}", params.top_k);
}

}  // namespace fathom
