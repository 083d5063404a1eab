// The shapes that answers take in each API: whole, and as a stream of server-sent events.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/generate.h"
#include "serve/generation_call.h"
#include "serve/output_event.h"

namespace fathom {

struct CallUsage {
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  Timings timings;  // of the last prompt
};

// One answer as far as it has come. In a stream `events`, `tokens` and `logprobs` are those since the last piece; whole, all of them.
struct ChoiceState {
  int64_t index = 0;
  size_t prompt_idx = 0;
  std::vector<OutputEvent> events = {};
  std::vector<int32_t> tokens = {};
  std::vector<TokenLogprob> logprobs = {}, prompt_logprobs = {};
  int64_t text_bytes = 0;         // of what was shown before (legacy logprobs count them)
  int64_t num_tokens = 0;         // in all
  FinishReason finish = FinishReason::kNone;
  std::string stop_string = {};   // that ended it
  bool has_tool_calls = false;
  bool has_begun = false;         // something of it was shown
};

class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  // The bytes of a stream: what comes before everything; a piece of a choice, its finish included; what comes after everything.
  virtual std::string StreamBegin() { return ""; }
  virtual std::string StreamPiece(const ChoiceState& piece) = 0;
  virtual std::string StreamEnd(const CallUsage& usage) = 0;
  virtual std::string StreamError(const std::string& error_body) { return "data: " + error_body + "\n\n"; }
  virtual OrderedJson Whole(const std::vector<ChoiceState>& choices, const CallUsage& usage) = 0;
};

std::unique_ptr<AnswerFormat> NewChatFormat(const GenerationCall& call, const ServedModel& model);
std::unique_ptr<AnswerFormat> NewCompletionFormat(const GenerationCall& call, const ServedModel& model);
std::unique_ptr<AnswerFormat> NewLlamaFormat(const GenerationCall& call);
std::unique_ptr<AnswerFormat> NewGenerateFormat();

// "data: JSON\n\n", bytes that are not UTF-8 as U+FFFD.
std::string ServerSentEvent(const OrderedJson& json);
std::string DumpJson(const OrderedJson& json);
// The joined text of the events of one kind.
std::string JoinText(const std::vector<OutputEvent>& events, OutputEvent::Kind kind);
// The events of an answer as a message of the chat API: role, content, reasoning_content, tool_calls.
OrderedJson AssistantMessage(const std::vector<OutputEvent>& events);
OrderedJson UsageJson(const CallUsage& usage);

}  // namespace fathom
