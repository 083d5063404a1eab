// One answer on its way: chooses tokens from logits, turns them into text, knows when it ends.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/generate.h"
#include "engine/sampler.h"
#include "engine/stop_strings.h"
#include "text/tokenizer.h"

namespace fathom {

class Answer {
 public:
  // Sample `index` of the request; without a tokenizer it has tokens alone.
  Answer(std::shared_ptr<const GenerationRequest> request, const std::shared_ptr<const Tokenizer>& tokenizer, int64_t index, int64_t most_new_tokens);

  // Takes the next token from its logits. Throws MachineError when none is finite.
  Delta Step(std::span<const float> logits_V);
  // The same with the token that the runner has chosen by sampler().Row (-1: no logit was finite).
  Delta Take(int32_t token);
  const Sampler& sampler() const { return sampler_; }
  // Ends it: the text that was held back. It may end with kStop instead, where that text holds a stop string whole.
  Delta End(FinishReason reason);

  bool done() const { return finish_ != FinishReason::kNone; }
  int32_t last_token() const { return last_token_; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_left() const { return most_new_tokens_ - num_tokens_; }
  FinishReason finish() const { return finish_; }
  int64_t index() const { return index_; }

 private:
  Delta Append(int32_t token);
  std::string Finish(FinishReason reason);

  std::shared_ptr<const GenerationRequest> request_;
  int64_t index_, most_new_tokens_;
  Sampler sampler_;
  StopMatcher stop_;
  std::optional<StreamDetokenizer> detokenizer_;
  int32_t last_token_ = -1;
  int64_t num_tokens_ = 0;
  FinishReason finish_ = FinishReason::kNone;
};

// Whether the host must see the request's logits: log-probabilities are asked for.
bool WantsLogprobs(const GenerationRequest& request);

}  // namespace fathom
