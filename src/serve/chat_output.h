// A chat answer's text parted into content, thought and tool calls while it streams. No marker, and no part of one, comes out as content,
// wherever the stream is cut.
//
// Thought: <think>...</think> (DeepSeek-R1, V3.1, Qwen3), with or without the opening marker, which a template may have put into the prompt.
// Tool calls:
//   Hermes, Qwen:   <tool_call>{"name": NAME, "arguments": {...}}</tool_call>
//   DeepSeek V3:    CALLS_BEGIN CALL_BEGIN function SEP NAME "\n```json\n" {...} "\n```" CALL_END ... CALLS_END
//   DeepSeek V3.1:  CALLS_BEGIN CALL_BEGIN NAME SEP {...} CALL_END ... CALLS_END
// with the tokens <|tool(_)calls(_)begin|> and so on in DeepSeek's own letters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serve/output_event.h"

namespace fathom {

// The end of a JSON value in text that comes in pieces.
class JsonValueEnd {
 public:
  // How many bytes of `text` belong to the value (which began at the first call).
  size_t Push(std::string_view text);
  bool done() const { return is_done_; }

 private:
  int64_t depth_ = 0;
  bool in_string_ = false, is_escaped_ = false, has_begun_ = false, is_done_ = false;
};

struct ChatOutputOptions {
  bool reasoning = false;            // <think> is looked for
  bool starts_in_reasoning = false;  // the prompt has opened it
  bool tools = false;                // tool calls are looked for
  bool calls_are_whole = false;      // their arguments are surely JSON: a marker inside of a string of them is text
};

class ChatOutput {
 public:
  explicit ChatOutput(const ChatOutputOptions& options);
  std::vector<OutputEvent> Push(std::string_view text);
  // The answer has ended: what was held back.
  std::vector<OutputEvent> Finish();
  bool has_tool_calls() const { return num_calls_ > 0; }

 private:
  enum class Mode { kStart, kReasoning, kContent, kHermes, kHermesArguments, kCalls, kName, kV3Name, kArguments, kAfterCalls };
  bool Advance(bool is_end);
  // Takes text up to the first of `markers`, which is taken too: its index; -1 where none is there yet, and `before` is what surely comes before one.
  int TakeUntil(const std::vector<std::string>& markers, bool is_end, std::string& before);
  void Emit(OutputEvent::Kind kind, std::string text);
  void EmitContent(const std::string& text);
  void BeginCall(const std::string& name);
  bool ReadHermesHead();
  void FinishHermes();
  bool TakeValue();

  ChatOutputOptions options_;
  Mode mode_;
  std::string pending_;  // not looked at yet, or held back
  std::string blanks_;   // behind content: dropped where a tool call follows
  std::string body_;     // of a Hermes call whose head is not read yet
  JsonValueEnd value_end_;
  bool call_is_v3_ = false, has_content_ = false, skips_blanks_ = false;
  int64_t num_calls_ = 0;
  std::vector<OutputEvent> events_;
};

}  // namespace fathom
