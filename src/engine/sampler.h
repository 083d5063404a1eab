// The draws of one answer: what it has said, its random numbers, and the row that the next token is chosen with (ops/sample/sample.h).
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/generate.h"
#include "engine/random.h"
#include "ops/sample/sample.h"

namespace fathom {

// The tokens of prompt and answer, as penalties see them, and those with a bias.
class TokenHistory {
 public:
  TokenHistory(std::span<const int32_t> prompt, std::span<const std::pair<int32_t, double>> biases);
  void Append(int32_t token);  // of the answer
  std::span<const ops::SeenToken> seen() const { return seen_; }

 private:
  ops::SeenToken& At(int32_t token);
  std::vector<ops::SeenToken> seen_;
  std::unordered_map<int32_t, size_t> places_;
};

// One sample's choices, with its own random stream: a number of it for every token that is drawn. Whoever chooses by Row chooses what Choose would, so
// that the answer to a seed does not hang on where its logits are.
class Sampler {
 public:
  Sampler(const SamplingParams& params, std::span<const int32_t> prompt, uint64_t stream);
  // The next token, which becomes part of the history. Throws MachineError when no logit is finite.
  // `allowed` (SampleRow's): the tokens it may be; empty: all.
  int32_t Choose(std::span<const float> logits_V, std::span<const uint32_t> allowed = {});

  // What the token after `guesses`, were they the next ones, is to be chosen with. Its list of seen tokens is good until the next call that is
  // not const; or it is put into `lists`, where guesses change it.
  ops::SampleRow Row(std::span<const int32_t> guesses, std::deque<std::vector<ops::SeenToken>>& lists) const;
  // The next token was chosen by Row. Throws MachineError where it is -1: no logit was finite.
  void Accept(int32_t token);

 private:
  SamplingParams params_;
  bool has_penalties_;
  TokenHistory history_;
  RandomStream random_;
};

// The best token, whatever was said.
bool IsGreedy(const SamplingParams& params);

// log softmax(logits) of `chosen` and of the `num_top` best tokens (falling; lower id first among equals): of the model's own distribution,
// before grammar, penalties, temperature and cuts.
TokenLogprob LogprobsOf(std::span<const float> logits_V, int32_t chosen, int64_t num_top);

// Throws UserError naming the flag for a value outside its range (temperature >= 0, top_k >= 0, 0 <= top_p <= 1, 0 <= min_p <= 1,
// repetition_penalty > 0, all finite).
void CheckSampling(const SamplingParams& params);

}  // namespace fathom
