#include "serve/answer_format.h"

#include <utility>

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

OrderedJson AssistantMessage(const std::vector<OutputEvent>& events) {
  const std::string content = JoinText(events, OutputEvent::kContent), reasoning = JoinText(events, OutputEvent::kReasoning);
  OrderedJson calls = OrderedJson::array();
  for (const OutputEvent& event : events) {
    if (event.kind == OutputEvent::kToolCall) {
      calls.push_back({{"id", event.tool_id}, {"type", "function"}, {"function", {{"name", event.text}, {"arguments", ""}}}});
    } else if (event.kind == OutputEvent::kToolArguments) {
      OrderedJson& arguments = calls.back()["function"]["arguments"];
      arguments = arguments.get<std::string>() + event.text;
    }
  }
  OrderedJson message = {{"role", "assistant"}};
  message["content"] = content.empty() && !calls.empty() ? OrderedJson() : OrderedJson(content);
  if (!reasoning.empty()) message["reasoning_content"] = reasoning;
  if (!calls.empty()) message["tool_calls"] = std::move(calls);
  return message;
}

OrderedJson UsageJson(const CallUsage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

}  // namespace fathom
