// From a row of logits to the next token. The steps and their order are transformers' (LogitsProcessorList of generation/utils.py):
// [OpenAI's logit_bias], repetition penalty, [OpenAI's presence and frequency penalty], temperature, top-k, top-p, min-p. Arithmetic in double.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/generate.h"
#include "engine/random.h"

namespace fathom {

// What was said so far, as the penalties see it.
class TokenHistory {
 public:
  explicit TokenHistory(std::span<const int32_t> prompt);
  void Append(int32_t token);
  const std::unordered_set<int32_t>& seen() const { return seen_; }                      // prompt and answer
  const std::unordered_map<int32_t, int64_t>& answer_counts() const { return counts_; }  // answer

 private:
  std::unordered_set<int32_t> seen_;
  std::unordered_map<int32_t, int64_t> counts_;
};

// scores = logits + bias; a seen token's s becomes s / r where s > 0, else s * r (r the repetition penalty; Keskar et al., CTRL, 2019); then
// s -= presence + count * frequency for a token of the answer (OpenAI API reference).
std::vector<double> PenalizedScores(std::span<const float> logits_V, const SamplingParams& params, const TokenHistory& history);

struct TokenProbability {
  int32_t token = 0;
  double probability = 0;
};

// The distribution that is sampled from: softmax(scores / temperature) cut to
//   top-k: the k best and those equal to the k-th;
//   top-p: in falling order, while the sum of those before is below p (always the first);
//   min-p: those of at least min_p * the best one's probability;
// each on what the one before left, and normalised. In the order of token ids. temperature > 0. Among equal probabilities the lower id comes first.
std::vector<TokenProbability> SamplingDistribution(std::span<const double> scores_V, const SamplingParams& params);

// One sample's choices: greedy (the lowest id of the best) at temperature 0, else from SamplingDistribution with its own random stream.
class Sampler {
 public:
  Sampler(const SamplingParams& params, std::span<const int32_t> prompt, uint64_t stream);
  // The next token, which becomes part of the history. Throws MachineError when no logit is finite.
  int32_t Choose(std::span<const float> logits_V);

 private:
  SamplingParams params_;
  TokenHistory history_;
  RandomStream random_;
};

// log softmax(logits) of `chosen` and of the `num_top` best tokens (falling; lower id first among equals): of the model's own distribution,
// before penalties, temperature and cuts.
TokenLogprob LogprobsOf(std::span<const float> logits_V, int32_t chosen, int64_t num_top);

// Throws UserError naming the flag for a value outside its range (temperature >= 0, top_k >= 0, 0 <= top_p <= 1, 0 <= min_p <= 1,
// repetition_penalty > 0, all finite).
void CheckSampling(const SamplingParams& params);

}  // namespace fathom
