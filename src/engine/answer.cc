#include "engine/answer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace fathom {

Answer::Answer(std::shared_ptr<const GenerationRequest> request, const std::shared_ptr<const Tokenizer>& tokenizer, int64_t index, int64_t most_new_tokens)
    : request_(std::move(request)), index_(index), most_new_tokens_(most_new_tokens),
      sampler_(request_->sampling, request_->prompt, static_cast<uint64_t>(index)), stop_(request_->stop) {
  if (tokenizer != nullptr) detokenizer_.emplace(tokenizer, !request_->show_special_tokens);
  if (request_->grammar) constraint_.emplace(Constraint{.matcher = GrammarMatcher(request_->grammar)});
}

Delta Answer::Step(std::span<const float> logits_V, std::span<const uint32_t> allowed) {
  const int32_t token = sampler_.Choose(logits_V, allowed);
  Delta delta = Append(token);
  if (request_->num_logprobs >= 0) delta.logprobs.push_back(LogprobsOf(logits_V, token, request_->num_logprobs));
  return delta;
}

Delta Answer::Take(int32_t token) {
  sampler_.Accept(token);
  return Append(token);
}

bool Answer::IsEnd(int32_t token) const {
  const auto& ends = request_->stop_token_ids;
  return !request_->ignore_eos && std::find(ends.begin(), ends.end(), token) != ends.end();
}

Delta Answer::Append(int32_t token) {
  Delta delta{.index = index_, .tokens = {token}};
  last_token_ = token;
  ++num_tokens_;
  if (IsEnd(token)) {
    delta.text = Finish(FinishReason::kStop);
  } else {
    if (constraint_) Follow(token);
    if (detokenizer_) delta.text = stop_.Push(detokenizer_->Push(token));
    if (stop_.matched()) finish_ = FinishReason::kStop;
    else if (constraint_ && IsAtEnd()) delta.text += Finish(FinishReason::kStop);
    else if (num_left() <= 0) delta.text += Finish(FinishReason::kLength);
  }
  delta.finish = finish_;
  if (done()) delta.stop_string = stop_.match();
  return delta;
}

bool Answer::FillNext(std::span<uint32_t> mask) { return SetEnds(mask, constraint_->matcher.FillMask(mask)); }

bool Answer::SetEnds(std::span<uint32_t> mask, bool has_any) const {
  if (request_->ignore_eos) return has_any;
  const bool may_end = constraint_->matcher.MayEnd();
  for (const int32_t end : request_->stop_token_ids) {
    if (end < 0 || end >= request_->grammar->vocab_size()) continue;
    uint32_t& word = mask[static_cast<size_t>(end / 32)];
    const uint32_t bit = uint32_t{1} << (end % 32);
    word = may_end ? word | bit : word & ~bit;
    has_any = has_any || may_end;
  }
  return has_any;
}

void Answer::Follow(int32_t token) {
  constraint_->next.clear();
  FATHOM_CHECK(constraint_->matcher.Accept(token), "token {} was chosen against the grammar", token);
}

// Whether the text is whole and nothing but an end can follow. What is found out on the way is the next step's set.
bool Answer::IsAtEnd() {
  if (!constraint_->matcher.MayEnd()) return false;
  std::vector<uint32_t>& next = constraint_->next;
  next.resize(static_cast<size_t>(NumMaskWords(request_->grammar->vocab_size())));
  if (!constraint_->matcher.FillMask(next)) return true;
  SetEnds(next, true);
  return false;
}

void Answer::CutGuesses(std::vector<int32_t>& guesses) {
  if (!constraint_) return;
  size_t num_kept = 0;
  while (num_kept < guesses.size() && !IsEnd(guesses[num_kept]) && constraint_->matcher.Accept(guesses[num_kept])) ++num_kept;
  constraint_->matcher.Rollback(static_cast<int64_t>(num_kept));
  guesses.resize(num_kept);
}

std::vector<uint32_t> Answer::Masks(std::span<const int32_t> guesses) {
  const auto num_words = static_cast<size_t>(NumMaskWords(request_->grammar->vocab_size()));
  std::vector<uint32_t> masks(num_words * (guesses.size() + 1));
  int64_t num_taken = 0;
  for (size_t i = 0; i <= guesses.size(); ++i) {
    const auto mask = std::span(masks).subspan(i * num_words, num_words);
    if (i == 0 && !constraint_->next.empty()) {
      std::copy(constraint_->next.begin(), constraint_->next.end(), mask.begin());
    } else if (!FillNext(mask) && i == 0) {
      ThrowUserError("the grammar lets no token of this vocabulary after {} tokens", num_tokens_);
    }
    if (i == guesses.size() || !constraint_->matcher.Accept(guesses[i])) break;
    ++num_taken;
  }
  constraint_->matcher.Rollback(num_taken);
  return masks;
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
