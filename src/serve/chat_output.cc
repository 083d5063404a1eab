#include "serve/chat_output.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/json.h"
#include "serve/request_ids.h"

namespace fathom {
namespace {

const std::string kThinkBegin = "<think>", kThinkEnd = "</think>";
const std::string kHermesBegin = "<tool_call>", kHermesEnd = "</tool_call>";
const std::string kCallsBegin = "<\uFF5Ctool\u2581calls\u2581begin\uFF5C>", kCallsEnd = "<\uFF5Ctool\u2581calls\u2581end\uFF5C>";
const std::string kCallBegin = "<\uFF5Ctool\u2581call\u2581begin\uFF5C>", kCallEnd = "<\uFF5Ctool\u2581call\u2581end\uFF5C>";
const std::string kSeparator = "<\uFF5Ctool\u2581sep\uFF5C>";
const std::string kFence = "\n```json\n", kFenceEnd = "\n```";

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

std::string Trimmed(const std::string& text) {
  const auto first = std::find_if_not(text.begin(), text.end(), IsBlank);
  const auto last = std::find_if_not(text.rbegin(), std::make_reverse_iterator(first), IsBlank).base();
  return {first, last};
}

// Bytes at the end of `text` with which `marker` begins.
size_t HeldBy(std::string_view text, std::string_view marker) {
  for (size_t length = std::min(text.size(), marker.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == marker.substr(0, length)) return length;
  }
  return 0;
}

// Reads along `text`; false where it does not (yet) continue so.
class HeadReader {
 public:
  explicit HeadReader(std::string_view text) : text_(text) {}
  bool Literal(std::string_view literal) {
    SkipBlanks();
    if (text_.substr(at_, literal.size()) != literal) return false;
    at_ += literal.size();
    return true;
  }
  bool String(std::string& value) {
    SkipBlanks();
    if (at_ >= text_.size() || text_[at_] != '"') return false;
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return false;
    const Json parsed = Json::parse(text_.substr(at_, end + 1 - at_), nullptr, false);
    if (!parsed.is_string()) return false;
    value = parsed.get<std::string>();
    at_ = end + 1;
    return true;
  }
  void SkipBlanks() {
    while (at_ < text_.size() && IsBlank(text_[at_])) ++at_;
  }
  size_t at() const { return at_; }
  bool at_end() const { return at_ >= text_.size(); }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

size_t JsonValueEnd::Push(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_done_) return i;
    const char c = text[i];
    if (in_string_) {
      if (is_escaped_) is_escaped_ = false;
      else if (c == '\\') is_escaped_ = true;
      else if (c == '"') in_string_ = false;
      is_done_ = !in_string_ && depth_ == 0;
      continue;
    }
    if (c == '"') in_string_ = has_begun_ = true;
    else if (c == '{' || c == '[') ++depth_, has_begun_ = true;
    else if (c == '}' || c == ']') {
      if (depth_ == 0) {  // of what is around a number or a word
        is_done_ = true;
        return i;
      }
      is_done_ = --depth_ == 0;
    } else if (depth_ == 0 && has_begun_ && (c == ',' || IsBlank(c))) {
      is_done_ = true;
      return i;
    } else if (!IsBlank(c)) {
      has_begun_ = true;
    }
  }
  return text.size();
}

ChatOutput::ChatOutput(const ChatOutputOptions& options)
    : options_(options), mode_(options.starts_in_reasoning ? Mode::kReasoning : options.reasoning ? Mode::kStart : Mode::kContent),
      skips_blanks_(options.starts_in_reasoning) {}

std::vector<OutputEvent> ChatOutput::Push(std::string_view text) {
  pending_ += text;
  while (Advance(false)) {
  }
  return std::exchange(events_, {});
}

std::vector<OutputEvent> ChatOutput::Finish() {
  while (Advance(true)) {
  }
  if (mode_ == Mode::kHermes) FinishHermes();
  return std::exchange(events_, {});
}

void ChatOutput::Emit(OutputEvent::Kind kind, std::string text) {
  if (text.empty()) return;
  if (!events_.empty() && events_.back().kind == kind && kind != OutputEvent::kToolCall) events_.back().text += text;
  else events_.push_back({.kind = kind, .text = std::move(text), .tool_index = std::max<int64_t>(num_calls_ - 1, 0)});
}

// Where tools are looked for, blanks behind content wait for what follows them.
void ChatOutput::EmitContent(const std::string& text) {
  std::string whole = std::exchange(blanks_, {}) + text;
  if (skips_blanks_ && !has_content_) whole.erase(0, std::find_if_not(whole.begin(), whole.end(), IsBlank) - whole.begin());
  if (options_.tools) {
    const auto last = std::find_if_not(whole.rbegin(), whole.rend(), IsBlank).base();
    blanks_.assign(last, whole.end());
    whole.erase(last, whole.end());
  }
  has_content_ = has_content_ || !whole.empty();
  Emit(OutputEvent::kContent, std::move(whole));
}

int ChatOutput::TakeUntil(const std::vector<std::string>& markers, bool is_end, std::string& before) {
  size_t first = std::string::npos;
  int which = -1;
  for (size_t i = 0; i < markers.size(); ++i) {
    const size_t at = pending_.find(markers[i]);
    if (at >= first) continue;
    first = at;
    which = static_cast<int>(i);
  }
  if (which >= 0) {
    before = pending_.substr(0, first);
    pending_.erase(0, first + markers[static_cast<size_t>(which)].size());
    return which;
  }
  size_t held = 0;
  if (!is_end) {
    for (const std::string& marker : markers) held = std::max(held, HeldBy(pending_, marker));
  }
  before = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, before.size());
  return -1;
}

void ChatOutput::BeginCall(const std::string& name) {
  blanks_.clear();
  value_end_ = {};
  events_.push_back({.kind = OutputEvent::kToolCall, .text = name, .tool_index = num_calls_, .tool_id = "call_" + NewRequestId().substr(0, 24)});
  ++num_calls_;
}

// {"name": NAME, "arguments": { -- then the arguments can be streamed, and body_ begins with them.
bool ChatOutput::ReadHermesHead() {
  HeadReader reader(body_);
  std::string name;
  if (!reader.Literal("{") || !reader.Literal("\"name\"") || !reader.Literal(":") || !reader.String(name) || !reader.Literal(",")) return false;
  if (!reader.Literal("\"arguments\"") && !reader.Literal("\"parameters\"")) return false;
  if (!reader.Literal(":")) return false;
  reader.SkipBlanks();
  if (reader.at_end() || body_[reader.at()] != '{') return false;
  BeginCall(name);
  body_.erase(0, reader.at());
  value_end_ = {};
  return true;
}

// A call that was not written as expected, whole.
void ChatOutput::FinishHermes() {
  const std::string body = std::exchange(body_, {});
  const OrderedJson parsed = OrderedJson::parse(body, nullptr, false);
  if (parsed.is_object() && parsed.contains("name") && parsed["name"].is_string()) {
    OrderedJson arguments = parsed.contains("arguments") ? parsed["arguments"] : parsed.contains("parameters") ? parsed["parameters"] : OrderedJson::object();
    if (arguments.is_string()) arguments = OrderedJson::parse(arguments.get<std::string>(), nullptr, false);
    if (arguments.is_discarded() || arguments.is_null()) arguments = OrderedJson::object();
    BeginCall(parsed["name"].get<std::string>());
    Emit(OutputEvent::kToolArguments, arguments.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
  } else {
    EmitContent(body);
  }
  mode_ = Mode::kContent;
}

// Where arguments are surely JSON: what is there of them. False: more is to come.
bool ChatOutput::TakeValue() {
  if (!options_.calls_are_whole || value_end_.done()) return true;
  const size_t length = value_end_.Push(pending_);
  Emit(OutputEvent::kToolArguments, pending_.substr(0, length));
  pending_.erase(0, length);
  return value_end_.done();
}

// One stretch of text. False: more text is needed.
bool ChatOutput::Advance(bool is_end) {
  std::string before;
  switch (mode_) {
    case Mode::kStart: {
      const auto first = std::find_if_not(pending_.begin(), pending_.end(), IsBlank);
      const std::string_view rest(pending_.data() + (first - pending_.begin()), static_cast<size_t>(pending_.end() - first));
      if (rest.substr(0, kThinkBegin.size()) == kThinkBegin) {
        pending_ = rest.substr(kThinkBegin.size());
        mode_ = Mode::kReasoning;
        skips_blanks_ = true;
        return true;
      }
      if (!is_end && kThinkBegin.substr(0, rest.size()) == rest) return false;
      mode_ = Mode::kContent;
      return true;
    }
    case Mode::kReasoning: {
      const int found = TakeUntil({kThinkEnd}, is_end, before);
      if (skips_blanks_ && !before.empty()) {
        before.erase(0, std::find_if_not(before.begin(), before.end(), IsBlank) - before.begin());
        skips_blanks_ = before.empty();
      }
      Emit(OutputEvent::kReasoning, before);
      if (found < 0) return false;
      mode_ = Mode::kContent;
      skips_blanks_ = true;
      return true;
    }
    case Mode::kContent: {
      const int found = options_.tools ? TakeUntil({kHermesBegin, kCallsBegin}, is_end, before) : -1;
      if (!options_.tools) before = std::exchange(pending_, {});
      EmitContent(before);
      if (found < 0) {
        if (is_end && num_calls_ == 0) Emit(OutputEvent::kContent, std::exchange(blanks_, {}));
        return false;
      }
      mode_ = found == 0 ? Mode::kHermes : Mode::kCalls;
      return true;
    }
    case Mode::kHermes: {
      const bool is_whole = TakeUntil({kHermesEnd}, is_end, before) >= 0;
      body_ += before;
      if (ReadHermesHead()) {  // what it has read of the arguments is looked at again
        pending_ = std::exchange(body_, {}) + (is_whole ? kHermesEnd : "") + pending_;
        mode_ = Mode::kHermesArguments;
        return true;
      }
      if (is_whole) FinishHermes();
      return is_whole;
    }
    case Mode::kHermesArguments: {
      if (!TakeValue()) return false;
      const bool is_whole = TakeUntil({kHermesEnd}, is_end, before) >= 0;
      if (!value_end_.done()) Emit(OutputEvent::kToolArguments, before.substr(0, value_end_.Push(before)));
      if (is_whole) mode_ = Mode::kContent;
      return is_whole;
    }
    case Mode::kCalls: {
      const int found = TakeUntil({kCallBegin, kCallsEnd}, is_end, before);
      if (found < 0) return false;
      mode_ = found == 0 ? Mode::kName : Mode::kAfterCalls;
      return true;
    }
    case Mode::kName:
    case Mode::kV3Name: {
      const int found = TakeUntil({mode_ == Mode::kName ? kSeparator : kFence, kCallEnd}, is_end, before);
      body_ += before;
      if (found < 0) return false;
      const std::string name = Trimmed(std::exchange(body_, {}));
      if (found == 1) {  // a call without arguments
        if (!name.empty()) BeginCall(name), Emit(OutputEvent::kToolArguments, "{}");
        mode_ = Mode::kCalls;
      } else if (mode_ == Mode::kName && name == "function") {
        mode_ = Mode::kV3Name;
      } else {
        call_is_v3_ = mode_ == Mode::kV3Name;
        BeginCall(name);
        mode_ = Mode::kArguments;
      }
      return true;
    }
    case Mode::kArguments: {
      if (!TakeValue()) return false;
      const int found = call_is_v3_ ? TakeUntil({kFenceEnd, kCallEnd}, is_end, before) : TakeUntil({kCallEnd}, is_end, before);
      Emit(OutputEvent::kToolArguments, before);
      if (found < 0) return false;
      mode_ = Mode::kCalls;
      return true;
    }
    case Mode::kAfterCalls:  // nothing follows
      pending_.clear();
      return false;
  }
  return false;
}

}  // namespace fathom
