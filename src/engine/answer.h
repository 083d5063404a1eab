// One answer on its way: chooses tokens from logits, turns them into text, knows when it ends.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/generate.h"
#include "engine/grammar.h"
#include "engine/sampler.h"
#include "engine/stop_strings.h"
#include "text/tokenizer.h"

namespace fathom {

class Answer {
 public:
  // Sample `index` of the request; without a tokenizer it has tokens alone.
  Answer(std::shared_ptr<const GenerationRequest> request, const std::shared_ptr<const Tokenizer>& tokenizer, int64_t index, int64_t most_new_tokens);

  // Takes the next token from its logits, of those that `allowed` holds (of all where it is empty). Throws MachineError when none is finite.
  Delta Step(std::span<const float> logits_V, std::span<const uint32_t> allowed = {});
  // The same with the token that the runner has chosen by sampler().Row (-1: no logit was finite).
  Delta Take(int32_t token);
  const Sampler& sampler() const { return sampler_; }
  // Ends it: the text that was held back. It may end with kStop instead, where that text holds a stop string whole.
  Delta End(FinishReason reason);

  // The answer keeps a grammar: its next tokens must be chosen from masks.
  bool has_grammar() const { return constraint_.has_value(); }
  // Cuts guesses before the first one that the grammar does not let.
  void CutGuesses(std::vector<int32_t>& guesses);
  // The tokens that may come next, and those after each of `guesses` were they the next ones: guesses + 1 sets of NumMaskWords words. Guesses must have
  // gone through CutGuesses. Throws UserError where the grammar lets no token of the vocabulary.
  std::vector<uint32_t> Masks(std::span<const int32_t> guesses);

  bool done() const { return finish_ != FinishReason::kNone; }
  int32_t last_token() const { return last_token_; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_left() const { return most_new_tokens_ - num_tokens_; }
  FinishReason finish() const { return finish_; }
  int64_t index() const { return index_; }

 private:
  // What the grammar makes of the answer.
  struct Constraint {
    GrammarMatcher matcher;
    std::vector<uint32_t> next;  // the set of the next token; empty: not known yet
  };
  Delta Append(int32_t token);
  bool IsEnd(int32_t token) const;
  // Fills `mask` with what may come next, end tokens among it. False: nothing.
  bool FillNext(std::span<uint32_t> mask);
  bool SetEnds(std::span<uint32_t> mask, bool has_any) const;
  void Follow(int32_t token);
  bool IsAtEnd();
  std::string Finish(FinishReason reason);

  std::shared_ptr<const GenerationRequest> request_;
  int64_t index_, most_new_tokens_;
  Sampler sampler_;
  StopMatcher stop_;
  std::optional<StreamDetokenizer> detokenizer_;
  std::optional<Constraint> constraint_;
  int32_t last_token_ = -1;
  int64_t num_tokens_ = 0;
  FinishReason finish_ = FinishReason::kNone;
};

// Whether the host must see the request's logits: log-probabilities are asked for.
bool WantsLogprobs(const GenerationRequest& request);

}  // namespace fathom
