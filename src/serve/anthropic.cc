#include "serve/anthropic.h"

#include <utility>

#include "serve/json_fields.h"

namespace fathom {
namespace {

// The text of a string or of blocks of type text.
std::string BlocksText(const OrderedJson& content, const std::string& name) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) ThrowBadField(name, "'{}' must be a string or an array of blocks, got {}", name, Shown(content));
  std::string text;
  for (const OrderedJson& block : content) {
    const JsonFields fields(block, name + "[].");
    const std::string type = fields.Text("type").value_or("");
    if (type != "text") ThrowBadField(name, "'{}' has a block of type '{}', and this model reads text alone", name, type.substr(0, 40));
    text += fields.Text("text").value_or("");
  }
  return text;
}

// One message's blocks as messages of the chat endpoint: results of tools stand before the text that is said with them.
void AddMessage(const OrderedJson& message, size_t index, OrderedJson& messages) {
  const std::string where = fmt::format("messages[{}].", index), content_name = where + "content";
  const JsonFields fields(message, where);
  const std::string role = fields.Text("role").value_or("");
  if (role != "user" && role != "assistant") ThrowBadField(where + "role", "'{}role' must be user or assistant, got '{}'", where, role.substr(0, 40));
  const OrderedJson* content = fields.Find("content");
  if (content == nullptr) ThrowBadField(content_name, "'{}' is missing", content_name);
  if (!content->is_array()) {
    messages.push_back({{"role", role}, {"content", BlocksText(*content, content_name)}});
    return;
  }
  std::string text;
  OrderedJson calls = OrderedJson::array();
  for (const OrderedJson& block : *content) {
    const JsonFields block_fields(block, content_name + "[].");
    const std::string type = block_fields.Text("type").value_or("");
    if (type == "thinking" || type == "redacted_thinking") continue;  // of an earlier turn: templates leave it out
    if (type == "tool_use") {
      const OrderedJson* input = block_fields.Find("input");
      calls.push_back({{"id", block_fields.Text("id").value_or("")}, {"type", "function"},
                       {"function", {{"name", block_fields.Text("name").value_or("")}, {"arguments", input == nullptr ? OrderedJson::object() : *input}}}});
    } else if (type == "tool_result") {
      const OrderedJson* result = block_fields.Find("content");
      messages.push_back({{"role", "tool"}, {"tool_call_id", block_fields.Text("tool_use_id").value_or("")},
                          {"content", result == nullptr ? std::string() : BlocksText(*result, content_name)}});
    } else {
      text += BlocksText(OrderedJson::array({block}), content_name);
    }
  }
  if (text.empty() && calls.empty() && !messages.empty() && messages.back()["role"] == "tool") return;
  OrderedJson added = {{"role", role}, {"content", text}};
  if (!calls.empty()) added["tool_calls"] = std::move(calls);
  messages.push_back(std::move(added));
}

OrderedJson ConvertTools(const OrderedJson& tools) {
  if (!tools.is_array()) ThrowBadField("tools", "'tools' must be an array, got {}", Shown(tools));
  OrderedJson converted = OrderedJson::array();
  for (const OrderedJson& tool : tools) {
    const JsonFields fields(tool, "tools[].");
    OrderedJson function = {{"name", fields.Text("name").value_or("")}};
    if (const auto description = fields.Text("description")) function["description"] = *description;
    const OrderedJson* schema = fields.Find("input_schema");
    function["parameters"] = schema == nullptr ? OrderedJson::object() : *schema;
    if (const auto is_strict = fields.Boolean("strict")) function["strict"] = *is_strict;
    converted.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return converted;
}

const char* StopReason(const ChoiceState& choice) {
  switch (choice.finish) {
    case FinishReason::kLength: return "max_tokens";
    case FinishReason::kStop: return choice.has_tool_calls ? "tool_use" : choice.stop_string.empty() ? "end_turn" : "stop_sequence";
    case FinishReason::kCancelled: return "pause_turn";
    case FinishReason::kNone: break;
  }
  return nullptr;
}

OrderedJson StopSequence(const ChoiceState& choice) { return choice.stop_string.empty() ? OrderedJson() : OrderedJson(choice.stop_string); }

class MessagesFormat : public AnswerFormat {
 public:
  explicit MessagesFormat(const GenerationCall& call) : call_(call) {}

  std::string StreamBegin() override {
    OrderedJson message = Head();
    message["content"] = OrderedJson::array();
    message["stop_reason"] = nullptr;
    message["stop_sequence"] = nullptr;
    message["usage"] = {{"input_tokens", call_.prompts[0].size()}, {"output_tokens", 0}};
    return Event("message_start", {{"message", std::move(message)}});
  }

  std::string StreamPiece(const ChoiceState& piece) override {
    std::string bytes;
    for (const OutputEvent& event : piece.events) {
      switch (event.kind) {
        case OutputEvent::kContent:
          bytes += Open(event.kind, {{"type", "text"}, {"text", ""}});
          bytes += Piece({{"type", "text_delta"}, {"text", event.text}});
          break;
        case OutputEvent::kReasoning:
          bytes += Open(event.kind, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
          bytes += Piece({{"type", "thinking_delta"}, {"thinking", event.text}});
          break;
        case OutputEvent::kToolCall:
          bytes += Close();  // of another call too
          bytes += Open(event.kind, {{"type", "tool_use"}, {"id", event.tool_id}, {"name", event.text}, {"input", OrderedJson::object()}});
          break;
        case OutputEvent::kToolArguments: bytes += Piece({{"type", "input_json_delta"}, {"partial_json", event.text}}); break;
      }
    }
    if (piece.finish != FinishReason::kNone) last_ = piece;
    return bytes;
  }

  std::string StreamEnd(const CallUsage& usage) override {
    return Close() +
           Event("message_delta", {{"delta", {{"stop_reason", StopReason(last_)}, {"stop_sequence", StopSequence(last_)}}},
                                   {"usage", {{"output_tokens", usage.completion_tokens}}}}) +
           Event("message_stop", OrderedJson::object());
  }

  std::string StreamError(const std::string& error_body) override {
    const OrderedJson error = OrderedJson::parse(error_body)["error"];
    return Event("error", {{"error", {{"type", "api_error"}, {"message", error["message"]}}}});
  }

  OrderedJson Whole(const std::vector<ChoiceState>& choices, const CallUsage& usage) override {
    OrderedJson message = Head();
    OrderedJson content = OrderedJson::array();
    std::string arguments;
    const auto finish_arguments = [&] {
      if (content.empty() || content.back()["type"] != "tool_use" || arguments.empty()) return;
      OrderedJson parsed = OrderedJson::parse(std::exchange(arguments, {}), nullptr, false);
      if (parsed.is_object()) content.back()["input"] = std::move(parsed);
    };
    for (const OutputEvent& event : choices[0].events) {
      const auto extend = [&](const char* type, const char* field) {
        if (content.empty() || content.back()["type"] != type) content.push_back({{"type", type}, {field, ""}});
        content.back()[field] = content.back()[field].get<std::string>() + event.text;
      };
      if (event.kind == OutputEvent::kToolArguments) {
        arguments += event.text;
        continue;
      }
      finish_arguments();
      if (event.kind == OutputEvent::kContent) extend("text", "text");
      else if (event.kind == OutputEvent::kReasoning) extend("thinking", "thinking");
      else content.push_back({{"type", "tool_use"}, {"id", event.tool_id}, {"name", event.text}, {"input", OrderedJson::object()}});
    }
    finish_arguments();
    for (OrderedJson& block : content) {
      if (block["type"] == "thinking") block["signature"] = "";
    }
    message["content"] = std::move(content);
    message["stop_reason"] = StopReason(choices[0]);
    message["stop_sequence"] = StopSequence(choices[0]);
    message["usage"] = {{"input_tokens", usage.prompt_tokens - usage.cached_tokens}, {"cache_read_input_tokens", usage.cached_tokens},
                        {"output_tokens", usage.completion_tokens}};
    return message;
  }

 private:
  OrderedJson Head() const { return {{"id", call_.id}, {"type", "message"}, {"role", "assistant"}, {"model", call_.model}}; }

  static std::string Event(const char* type, OrderedJson fields) {
    OrderedJson data = {{"type", type}};
    data.update(fields);
    return std::string("event: ") + type + "\n" + ServerSentEvent(data);
  }
  // Begins a block of that kind unless one is open.
  std::string Open(OutputEvent::Kind kind, OrderedJson block) {
    if (is_open_ && open_kind_ == kind) return "";
    std::string bytes = Close();
    is_open_ = true;
    open_kind_ = kind;
    return bytes + Event("content_block_start", {{"index", block_}, {"content_block", std::move(block)}});
  }
  std::string Piece(OrderedJson delta) const { return Event("content_block_delta", {{"index", block_}, {"delta", std::move(delta)}}); }
  std::string Close() {
    if (!std::exchange(is_open_, false)) return "";
    return Event("content_block_stop", {{"index", block_++}});
  }

  const GenerationCall& call_;
  int64_t block_ = 0;
  bool is_open_ = false;
  OutputEvent::Kind open_kind_ = OutputEvent::kContent;
  ChoiceState last_;
};

}  // namespace

GenerationCall ReadMessagesCall(const OrderedJson& body, const ServedModel& model, bool counts_only) {
  const JsonFields fields(body);
  const auto most = fields.Integer("max_tokens", 1, INT64_MAX);
  if (!most && !counts_only) ThrowBadField("max_tokens", "'max_tokens' is missing");
  OrderedJson chat = OrderedJson::object();
  for (const char* name : {"model", "stream", "temperature", "top_p", "top_k", "seed", "ignore_eos", "chat_template_kwargs", "output_format"}) {
    if (const OrderedJson* value = fields.Find(name)) chat[name] = *value;
  }
  if (const OrderedJson* config = fields.Find("output_config")) {
    if (const OrderedJson* format = JsonFields(*config, "output_config.").Find("format")) chat["output_format"] = *format;
  }
  if (most) chat["max_tokens"] = *most;
  OrderedJson messages = OrderedJson::array();
  if (const OrderedJson* system = fields.Find("system")) messages.push_back({{"role", "system"}, {"content", BlocksText(*system, "system")}});
  const OrderedJson* given = fields.Find("messages");
  if (given == nullptr || !given->is_array() || given->empty()) {
    ThrowBadField("messages", "'messages' must be an array of at least one message, got {}", given == nullptr ? "none" : Shown(*given));
  }
  for (size_t i = 0; i < given->size(); ++i) AddMessage((*given)[i], i, messages);
  chat["messages"] = std::move(messages);
  if (const OrderedJson* tools = fields.Find("tools")) chat["tools"] = ConvertTools(*tools);
  if (const OrderedJson* choice = fields.Find("tool_choice")) {
    const JsonFields inner(*choice, "tool_choice.");
    const std::string type = inner.Text("type").value_or("");
    if (type == "auto" || type == "none") chat["tool_choice"] = type;
    else if (type == "any") chat["tool_choice"] = "required";
    else if (type == "tool") chat["tool_choice"] = {{"type", "function"}, {"function", {{"name", inner.Text("name").value_or("")}}}};
    else ThrowBadField("tool_choice", "'tool_choice.type' must be auto, any, tool or none, got '{}'", type.substr(0, 40));
    if (inner.Boolean("disable_parallel_tool_use").value_or(false)) chat["parallel_tool_calls"] = false;
  }
  const std::vector<std::string> stops = fields.Texts("stop_sequences", 16);
  if (!stops.empty()) chat["stop"] = stops;
  if (const OrderedJson* metadata = fields.Find("metadata")) {
    if (const auto user = JsonFields(*metadata, "metadata.").Text("user_id")) chat["user"] = *user;
  }
  GenerationCall call = ReadChatCall(chat, model);
  call.id = "msg_" + call.id.substr(call.id.find('-') + 1);
  return call;
}

std::unique_ptr<AnswerFormat> NewMessagesFormat(const GenerationCall& call, const ServedModel&) { return std::make_unique<MessagesFormat>(call); }

std::string MessagesErrorBody(const ApiError& error) {
  const char* type = "invalid_request_error";
  if (error.status() == 401) type = "authentication_error";
  else if (error.status() == 404) type = "not_found_error";
  else if (error.status() == 429) type = "rate_limit_error";
  else if (error.status() >= 500) type = "api_error";
  return DumpJson({{"type", "error"}, {"error", {{"type", type}, {"message", error.what()}}}});
}

}  // namespace fathom
