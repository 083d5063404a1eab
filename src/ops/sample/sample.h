// From rows of logits to the next tokens: penalties, temperature, cuts and the draw. The steps and their order are transformers'
// (LogitsProcessorList of generation/utils.py): [OpenAI's logit_bias], repetition penalty, [OpenAI's presence and frequency penalty], temperature,
// top-k, top-p, min-p.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace fathom::ops {

// What a row knows of one token.
struct SeenToken {
  int32_t token = 0;
  int32_t count = 0;  // times in the answer; 0: in the prompt alone; -1: in neither, it has a bias
  double bias = 0;    // added to its logit before everything else
};

struct SampleRow {
  double temperature = 0;  // 0: the best token
  int64_t top_k = 0;       // 0: off
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;  // of tokens of prompt and answer (Keskar et al., CTRL, 2019)
  double presence_penalty = 0, frequency_penalty = 0;  // of tokens of the answer (OpenAI API reference)
  double uniform = 0;             // in [0, 1): the draw
  std::span<const SeenToken> seen = {};  // each token at most once; those outside the vocabulary count for nothing
  // Tokens that may be chosen: token i is bit i % 32 of word i / 32, (V + 31) / 32 words. Empty: all. The scores of the others are -inf before the cuts.
  std::span<const uint32_t> allowed = {};
  bool is_greedy() const { return temperature == 0 && seen.empty(); }  // of the tokens allowed
};

// logits [B, V] (f32, bf16 or f16, last dimension contiguous, V < 2^20) and their B rows -> int64 [B] on the same device: of each row
//   greedy: the best score, the lowest id among equals;
//   else the first token, in the order of ids, at which the sum of SamplingDistribution's probabilities exceeds `uniform`;
//   -1 where no score is finite (or one is +inf).
// On the CPU the arithmetic is in double. A GPU's scores are too, but it adds weights as whole multiples of 2^-44 of the best one's, in which order has
// no say: the token is the CPU's unless `uniform` (or a cut of top-p) lies within about 1e-9 of the border between two, and always the same one
// again. Tokens below e^-32 of the best one's probability are never drawn there. Inference only (Autograd throws).
at::Tensor sample_tokens(const at::Tensor& logits_BV, std::span<const SampleRow> rows);

// logits [B, V] where row b's `allowed` lets the token, -inf elsewhere; `logits_BV` itself where no row has such a set.
at::Tensor mask_logits(const at::Tensor& logits_BV, std::span<const SampleRow> rows);

// The plain formulas, a row at a time on the CPU.

// scores = logits + bias (-inf where not allowed); a seen token's s becomes s / r where s > 0, else s * r (r the repetition penalty); then
// s -= presence + count * frequency for a token of the answer.
std::vector<double> PenalizedScores(std::span<const float> logits_V, const SampleRow& row);

struct TokenProbability {
  int32_t token = 0;
  double probability = 0;
};

// The distribution that is drawn from: softmax(scores / temperature) cut to
//   top-k: the k best and those equal to the k-th;
//   top-p: in falling order, while the sum of those before is below p (always the first);
//   min-p: those of at least min_p * the best one's probability;
// each on what the one before left, and normalised. In the order of token ids. temperature > 0, the best score finite. Among equal probabilities
// the lower id comes first.
std::vector<TokenProbability> SamplingDistribution(std::span<const double> scores_V, const SampleRow& row);

// One row of sample_tokens.
int32_t ChooseToken(std::span<const float> logits_V, const SampleRow& row);

}  // namespace fathom::ops
