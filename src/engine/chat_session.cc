#include "engine/chat_session.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

constexpr int64_t kFirstCacheTokens = 4096;  // grows by doubling up to the context

OrderedJson Message(const char* role, const std::string& content) { return OrderedJson{{"role", role}, {"content", content}}; }

}  // namespace

ChatSession::ChatSession(EngineFactory make_engine, std::shared_ptr<const Tokenizer> tokenizer,
                         std::shared_ptr<const ChatTemplate> chat_template, int64_t context_length, ChatOptions options)
    : make_engine_(std::move(make_engine)), tokenizer_(std::move(tokenizer)), template_(std::move(chat_template)),
      context_length_(context_length), options_(std::move(options)) {
  stats_.context_length = context_length_;
}

FinishReason ChatSession::Ask(const std::string& text, const std::function<bool(const std::string&)>& on_text) {
  messages_.push_back(Message("user", text));
  try {
    return Answer(on_text);
  } catch (...) {
    messages_.erase(messages_.size() - 1);
    throw;
  }
}

FinishReason ChatSession::Regenerate(const std::function<bool(const std::string&)>& on_text) {
  FATHOM_USER_CHECK(CountTurns(messages_) > 0, "there is no question to answer again");
  OrderedJson before = messages_;
  while (messages_.back().value("role", "") != "user") messages_.erase(messages_.size() - 1);
  try {
    return Answer(on_text);
  } catch (...) {
    messages_ = std::move(before);
    throw;
  }
}

void ChatSession::SetSystem(const std::string& text) {
  if (!messages_.empty() && messages_[0].value("role", "") == "system") messages_.erase(0);
  if (!text.empty()) messages_.insert(messages_.begin(), Message("system", text));
}

void ChatSession::Reset() {
  OrderedJson kept = OrderedJson::array();
  if (!messages_.empty() && messages_[0].value("role", "") == "system") kept.push_back(messages_[0]);
  messages_ = std::move(kept);
}

std::vector<int32_t> ChatSession::Render(const OrderedJson& messages) const {
  TemplateInput input;
  input.messages = messages;
  input.add_generation_prompt = true;
  input.args = options_.template_args;
  return tokenizer_->Encode(template_->Render(input), {.add_bos = false, .match_special = true});
}

void ChatSession::ReserveCache(int64_t num_tokens) {
  num_tokens = std::min(num_tokens, context_length_);
  int64_t held = engine_ ? engine_->most_tokens() : 0;
  if (held >= num_tokens) return;
  held = std::max(held, kFirstCacheTokens);
  while (held < num_tokens) held *= 2;
  engine_.reset();  // before the new one: the two need not fit together; what it held is run again
  engine_ = make_engine_(std::min(held, context_length_));
}

FinishReason ChatSession::Answer(const std::function<bool(const std::string&)>& on_text) {
  const int64_t room_for_answer = std::min(options_.max_new_tokens, context_length_ / 4);
  const int64_t most_prompt_tokens = context_length_ - room_for_answer;
  const auto fits = [&](const OrderedJson& messages) { return std::ssize(Render(messages)) <= most_prompt_tokens; };
  const OrderedJson said = CutHistory(messages_, options_.max_history_turns, fits);

  GenerationRequest request{.prompt = Render(said), .sampling = options_.sampling, .max_new_tokens = options_.max_new_tokens};
  request.sampling.seed += num_answers_++;
  request.stop_token_ids = options_.stop_token_ids;
  FATHOM_USER_CHECK(std::ssize(request.prompt) <= most_prompt_tokens,
                    "the message is too long: with the system prompt it has {} tokens, and the context of {} leaves {} beside the answer",
                    request.prompt.size(), context_length_, most_prompt_tokens);
  ReserveCache(std::ssize(request.prompt) + options_.max_new_tokens);

  std::string answer;
  FinishReason finish = FinishReason::kNone;
  bool stopped = false;
  request.cancelled = [&] { return stopped = stopped || !on_text(""); };
  stats_.timings = GenerateOn(*engine_, request, [&](const Delta& delta) {
    answer += delta.text;
    finish = delta.finish;
    if (!delta.text.empty() && !on_text(delta.text)) stopped = true;
    return !stopped;
  });
  messages_.push_back(Message("assistant", answer));
  stats_.context_used = std::ssize(request.prompt) + stats_.timings.completion_tokens;
  stats_.turns = CountTurns(messages_);
  stats_.turns_in_prompt = CountTurns(said);
  return finish;
}

}  // namespace fathom
