#include "engine/chat_history.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace fathom {
namespace {

bool HasRole(const OrderedJson& message, const char* role) { return message.value("role", "") == role; }

// Positions of the messages that begin a turn.
std::vector<size_t> TurnStarts(const OrderedJson& messages) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (HasRole(messages[i], "user")) starts.push_back(i);
  }
  return starts;
}

OrderedJson From(const OrderedJson& messages, size_t start) {
  OrderedJson kept = OrderedJson::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool is_leading_system = i == 0 && HasRole(messages[i], "system");
    if (i >= start || is_leading_system) kept.push_back(messages[i]);
  }
  return kept;
}

}  // namespace

OrderedJson CutHistory(const OrderedJson& messages, int64_t max_turns, const std::function<bool(const OrderedJson&)>& fits) {
  const std::vector<size_t> starts = TurnStarts(messages);
  if (starts.empty()) return messages;
  size_t first = 0;
  if (max_turns > 0 && starts.size() > static_cast<size_t>(max_turns)) first = starts.size() - static_cast<size_t>(max_turns);
  if (first == 0 && fits(messages)) return messages;
  // Fewer turns always need less: the first that fits is found by halving.
  size_t last = starts.size() - 1;
  while (first < last) {
    const size_t middle = (first + last) / 2;
    if (fits(From(messages, starts[middle]))) last = middle;
    else first = middle + 1;
  }
  return From(messages, starts[first]);
}

int64_t CountTurns(const OrderedJson& messages) { return static_cast<int64_t>(TurnStarts(messages).size()); }

void CheckMessages(const OrderedJson& messages, const std::string& what) {
  FATHOM_USER_CHECK(messages.is_array(), "{}: must be an array of messages, got {}", what, messages.type_name());
  FATHOM_USER_CHECK(!messages.empty(), "{}: has no message", what);
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool valid = messages[i].is_object() && messages[i].contains("role") && messages[i]["role"].is_string();
    FATHOM_USER_CHECK(valid, "{}: message {} must be an object with a text as \"role\"", what, i);
  }
}

void SaveConversation(const std::filesystem::path& path, const OrderedJson& messages) {
  WriteFileAtomically(path, OrderedJson{{"messages", messages}}.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

OrderedJson LoadConversation(const std::filesystem::path& path) {
  OrderedJson json = ReadOrderedJsonFile(path);
  OrderedJson messages = json.is_object() && json.contains("messages") ? json["messages"] : json;
  CheckMessages(messages, path.string());
  for (size_t i = 0; i < messages.size(); ++i) {
    const OrderedJson& message = messages[i];
    const bool calls_tools = HasRole(message, "assistant") && message.contains("tool_calls");
    FATHOM_USER_CHECK(calls_tools || (message.contains("content") && message["content"].is_string()),
                      "{}: message {} must have a text as \"content\"", path.string(), i);
  }
  return messages;
}

}  // namespace fathom
