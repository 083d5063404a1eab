#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace fathom {
namespace {

bool HasPenalties(const SamplingParams& params) {
  return !params.logit_bias.empty() || params.repetition_penalty != 1.0 || params.presence_penalty != 0.0 || params.frequency_penalty != 0.0;
}

int32_t CheckFinite(int32_t token) {
  if (token < 0) ThrowMachineError("the model gave no finite logit: its weights are broken, or --dtype is too narrow for it");
  return token;
}

}  // namespace

bool IsGreedy(const SamplingParams& params) { return params.temperature == 0 && !HasPenalties(params); }

TokenHistory::TokenHistory(std::span<const int32_t> prompt, std::span<const std::pair<int32_t, double>> biases) {
  for (const auto& [token, bias] : biases) At(token).bias += bias;
  for (const int32_t token : prompt) {
    ops::SeenToken& seen = At(token);
    seen.count = std::max(seen.count, 0);
  }
}

ops::SeenToken& TokenHistory::At(int32_t token) {
  const auto [place, is_new] = places_.try_emplace(token, seen_.size());
  if (is_new) seen_.push_back({.token = token, .count = -1});
  return seen_[place->second];
}

void TokenHistory::Append(int32_t token) {
  ops::SeenToken& seen = At(token);
  seen.count = std::max(seen.count, 0) + 1;
}

Sampler::Sampler(const SamplingParams& params, std::span<const int32_t> prompt, uint64_t stream)
    : params_(params), has_penalties_(HasPenalties(params)),
      history_(has_penalties_ ? prompt : std::span<const int32_t>(), params_.logit_bias), random_(params.seed, stream) {}

ops::SampleRow Sampler::Row(std::span<const int32_t> guesses, std::deque<std::vector<ops::SeenToken>>& lists) const {
  ops::SampleRow row{.temperature = params_.temperature, .top_k = params_.top_k, .top_p = params_.top_p, .min_p = params_.min_p,
                     .repetition_penalty = params_.repetition_penalty, .presence_penalty = params_.presence_penalty,
                     .frequency_penalty = params_.frequency_penalty};
  if (params_.temperature > 0) row.uniform = random_.Peek(guesses.size());
  row.seen = history_.seen();
  if (has_penalties_ && !guesses.empty()) {
    TokenHistory after = history_;
    for (const int32_t token : guesses) after.Append(token);
    row.seen = lists.emplace_back(after.seen().begin(), after.seen().end());
  }
  return row;
}

void Sampler::Accept(int32_t token) {
  CheckFinite(token);
  if (params_.temperature > 0) random_.Skip(1);
  if (has_penalties_) history_.Append(token);
}

int32_t Sampler::Choose(std::span<const float> logits_V, std::span<const uint32_t> allowed) {
  std::deque<std::vector<ops::SeenToken>> none;
  ops::SampleRow row = Row({}, none);
  row.allowed = allowed;
  const int32_t token = ops::ChooseToken(logits_V, row);
  Accept(token);
  return token;
}

TokenLogprob LogprobsOf(std::span<const float> logits_V, int32_t chosen, int64_t num_top) {
  const double best = logits_V[static_cast<size_t>(CheckFinite(ops::ChooseToken(logits_V, {})))];
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
