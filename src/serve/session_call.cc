#include "serve/session_call.h"

#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "serve/api_error.h"

namespace fathom {
GenerationCall ReadSessionCall(const OrderedJson& body, const ServedModel& model, Sessions& sessions, const std::string& owner) {
  const JsonFields fields(body);
  const std::string id = fields.Text("session_id").value_or("");
  if (id.empty() || id.size() > 128) ThrowBadField("session_id", "'session_id' must have 1 to 128 bytes, got {}", id.size());
  if (fields.Integer("n", 1, 128).value_or(1) != 1) ThrowBadField("n", "'n' must be 1 with a 'session_id': a conversation has one answer");
  const OrderedJson* said = fields.Find("messages");
  if (said == nullptr || !said->is_array()) return ReadChatCall(body, model);  // which says what is wrong

  Sessions::Session session = sessions.Load(owner, id, UnixSeconds());
  OrderedJson system = OrderedJson::array(), turn = OrderedJson::array();
  std::string system_text;
  for (const OrderedJson& message : *said) {
    const bool is_system = message.is_object() && message.contains("role") && (message["role"] == "system" || message["role"] == "developer");
    (is_system ? system : turn).push_back(message);
    if (is_system && message.contains("content") && message["content"].is_string()) system_text = message["content"].get<std::string>();
  }
  if (system.empty() && !session.system.empty()) system.push_back({{"role", "system"}, {"content", session.system}});
  for (size_t first = 0;; ++first) {
    OrderedJson whole = body;
    OrderedJson& messages = whole["messages"] = system;
    for (size_t i = first; i < session.turns.size(); ++i) {
      for (const OrderedJson& message : session.turns[i]) messages.push_back(message);
    }
    for (const OrderedJson& message : turn) messages.push_back(message);
    try {
      GenerationCall call = ReadChatCall(whole, model);
      call.on_answer = [&sessions, owner, id, system_text, turn](const OrderedJson& answer) {
        OrderedJson kept = turn;
        kept.push_back(answer);
        try {
          sessions.Append(owner, id, system_text, kept, UnixSeconds());
        } catch (const std::exception& error) {  // the answer is good all the same
          LogWarn("a turn was not kept: {}", error.what());
        }
      };
      return call;
    } catch (const ApiError& error) {
      if (error.code() != "context_length_exceeded" || first >= session.turns.size()) throw;
    }
  }
}

OrderedJson SessionJson(Sessions& sessions, const std::string& owner, const std::string& id) {
  const Sessions::Session session = sessions.Load(owner, id, UnixSeconds());
  if (session.turns.empty()) throw ApiError(404, fmt::format("there is no session '{}'", id.substr(0, 128)), "session_id", "session_not_found");
  OrderedJson messages = OrderedJson::array();
  for (const OrderedJson& turn : session.turns) {
    for (const OrderedJson& message : turn) messages.push_back(message);
  }
  return {{"id", id}, {"object", "session"}, {"system", session.system}, {"messages", std::move(messages)}};
}

}  // namespace fathom
