#include "serve/answer_format.h"

namespace fathom {

std::string DumpJson(const OrderedJson& json) { return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace); }
std::string ServerSentEvent(const OrderedJson& json) { return "data: " + DumpJson(json) + "\n\n"; }

std::string JoinText(const std::vector<OutputEvent>& events, OutputEvent::Kind kind) {
  std::string text;
  for (const OutputEvent& event : events) {
    if (event.kind == kind) text += event.text;
  }
  return text;
}

OrderedJson UsageJson(const CallUsage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

}  // namespace fathom
