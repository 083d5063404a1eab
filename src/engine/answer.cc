#include "engine/answer.h"

#include <algorithm>
#include <utility>

namespace fathom {

Answer::Answer(std::shared_ptr<const GenerationRequest> request, const std::shared_ptr<const Tokenizer>& tokenizer, int64_t index, int64_t most_new_tokens)
    : request_(std::move(request)), index_(index), most_new_tokens_(most_new_tokens),
      sampler_(request_->sampling, request_->prompt, static_cast<uint64_t>(index)), stop_(request_->stop) {
  if (tokenizer != nullptr) detokenizer_.emplace(tokenizer, !request_->show_special_tokens);
}

Delta Answer::Step(std::span<const float> logits_V) {
  const int32_t token = sampler_.Choose(logits_V);
  Delta delta = Append(token);
  if (request_->num_logprobs >= 0) delta.logprobs.push_back(LogprobsOf(logits_V, token, request_->num_logprobs));
  return delta;
}

Delta Answer::Take(int32_t token) {
  sampler_.Accept(token);
  return Append(token);
}

Delta Answer::Append(int32_t token) {
  Delta delta{.index = index_, .tokens = {token}};
  last_token_ = token;
  ++num_tokens_;
  const auto& ends = request_->stop_token_ids;
  if (!request_->ignore_eos && std::find(ends.begin(), ends.end(), token) != ends.end()) {
    delta.text = Finish(FinishReason::kStop);
  } else {
    if (detokenizer_) delta.text = stop_.Push(detokenizer_->Push(token));
    if (stop_.matched()) finish_ = FinishReason::kStop;
    else if (num_left() <= 0) delta.text += Finish(FinishReason::kLength);
  }
  delta.finish = finish_;
  if (done()) delta.stop_string = stop_.match();
  return delta;
}

Delta Answer::End(FinishReason reason) {
  Delta delta{.index = index_, .text = Finish(reason)};
  delta.finish = finish_;
  if (done()) delta.stop_string = stop_.match();
  return delta;
}

std::string Answer::Finish(FinishReason reason) {
  finish_ = reason;
  std::string text;
  if (detokenizer_) text = stop_.Push(detokenizer_->Finish());
  if (stop_.matched()) finish_ = FinishReason::kStop;
  return text + stop_.Finish();
}

bool WantsLogprobs(const GenerationRequest& request) { return request.num_logprobs >= 0 || request.num_prompt_logprobs >= 0; }

}  // namespace fathom
