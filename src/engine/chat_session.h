// A conversation with a model: messages, the template that turns them into a prompt, and a cache that keeps what did not change since the
// last turn.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/chat_history.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "text/chat_template.h"

namespace fathom {

struct ChatOptions {
  SamplingParams sampling = {};
  int64_t max_new_tokens = 2048;
  int64_t max_history_turns = 0;  // 0: as many as fit
  std::vector<int32_t> stop_token_ids = {};
  OrderedJson template_args = OrderedJson::object();
};

struct ChatStats {
  Timings timings;            // of the last answer
  int64_t context_used = 0;   // tokens in the cache
  int64_t context_length = 0;
  int64_t turns = 0;          // of the conversation
  int64_t turns_in_prompt = 0;
};

class ChatSession {
 public:
  // Makes an engine whose cache holds one sequence of at least that many tokens.
  using EngineFactory = std::function<std::unique_ptr<Engine>(int64_t num_tokens)>;
  ChatSession(EngineFactory make_engine, std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const ChatTemplate> chat_template,
              int64_t context_length, ChatOptions options);

  // Says `text` and streams the answer's pieces to on_text (false stops it). The turn is part of the conversation afterwards, also when it
  // was stopped; when an error is thrown it is not. Throws UserError when the turn alone does not fit into the context.
  FinishReason Ask(const std::string& text, const std::function<bool(const std::string&)>& on_text);
  // Answers the last question again, with other random numbers. Throws UserError when there is none.
  FinishReason Regenerate(const std::function<bool(const std::string&)>& on_text);

  // Replaces the system prompt; empty: none.
  void SetSystem(const std::string& text);
  // Forgets all turns, keeps the system prompt.
  void Reset();
  const OrderedJson& messages() const { return messages_; }
  void SetMessages(OrderedJson messages) { messages_ = std::move(messages); }
  ChatOptions& options() { return options_; }
  const ChatStats& stats() const { return stats_; }

 private:
  std::vector<int32_t> Render(const OrderedJson& messages) const;
  FinishReason Answer(const std::function<bool(const std::string&)>& on_text);
  void ReserveCache(int64_t num_tokens);

  EngineFactory make_engine_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const ChatTemplate> template_;
  int64_t context_length_;
  ChatOptions options_;
  OrderedJson messages_ = OrderedJson::array();
  std::unique_ptr<Engine> engine_;
  uint64_t num_answers_ = 0;
  ChatStats stats_;
};

}  // namespace fathom
