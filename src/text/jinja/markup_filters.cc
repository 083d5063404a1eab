// Filters on HTML and addresses.
#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/text_search.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

std::string Escaped(const Value& value) { return value.IsMarkup() ? value.text() : EscapeHtml(Str(value)); }

Value FilterEscape(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  RefuseArguments("escape", args);
  return Value::String(Escaped(value), true);
}

Value FilterForceEscape(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("forceescape", args);
  return Value::String(EscapeHtml(Str(value)), true);
}

Value FilterSafe(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("safe", args);
  return Value::String(Str(value), true);
}

// Removes `open`...`close` wherever both are there.
std::string RemoveBetween(std::string_view text, std::string_view open, std::string_view close) {
  std::string out;
  while (true) {
    const size_t begin = text.find(open);
    const size_t end = begin == std::string_view::npos ? begin : text.find(close, begin);
    if (end == std::string_view::npos) return out.append(text);
    out += text.substr(0, begin);
    text.remove_prefix(end + close.size());
  }
}

std::string Unescape(std::string_view text) {
  static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&#39;", "'"}, {"&#34;", "\""}, {"&quot;", "\""}};
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    bool found = false;
    for (const auto& [entity, plain] : kEntities) {
      if (!text.substr(pos).starts_with(entity)) continue;
      out += plain;
      pos += entity.size();
      found = true;
      break;
    }
    if (!found) out += text[pos++];
  }
  return out;
}

Value FilterStripTags(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("striptags", args);
  const std::string bare = RemoveBetween(RemoveBetween(Str(value), "<!--", "-->"), "<", ">");
  std::string out;
  for (const std::string_view word : SplitSpace(bare, -1)) out += (out.empty() ? "" : " ") + std::string(word);
  return Value::String(Unescape(out));
}

std::string QuoteUrl(const std::string& text, bool for_query) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' ||
                       c == '~' || (c == '/' && !for_query);
    if (plain) out += c;
    else if (c == ' ' && for_query) out += '+';
    else out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Value FilterUrlEncode(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  RefuseArguments("urlencode", args);
  if (value.IsString() || !IsIterable(value)) return Value::String(QuoteUrl(Str(value), false));
  std::string out;
  const auto add = [&](const Value& key, const Value& item) {
    if (!out.empty()) out += '&';
    out += QuoteUrl(Str(key), true) + "=" + QuoteUrl(Str(item), true);
    interpreter.budget().CheckBytes(out.size() >> 4);
  };
  if (value.Is(Kind::kDict)) {
    for (const auto& [key, item] : value.dict().entries) add(key, item);
  } else {
    for (const Value& item : Collect(value, interpreter.budget())) {
      const std::vector<Value> pair = Collect(item, interpreter.budget());
      if (pair.size() != 2) FailValue("{} values to unpack (expected 2)", pair.size() < 2 ? "not enough" : "too many");
      add(pair[0], pair[1]);
    }
  }
  return Value::String(std::move(out));
}

Value FilterXmlAttr(Interpreter&, const Value& value, const CallArgs& args) {
  const Value autospace = Bind("xmlattr", args, {"autospace"}, 0)[0];
  if (value.IsUndefined()) FailUndefined(value);
  if (!value.Is(Kind::kDict)) FailType("'{}' object has no attribute 'items'", TypeName(value));
  std::string out;
  for (const auto& [key, item] : value.dict().entries) {
    if (item.IsNone() || item.IsUndefined()) continue;
    if (!key.IsString()) FailType("expected string or bytes-like object, got '{}'", TypeName(key));
    if (key.text().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) FailValue("Invalid character in attribute name: {}", Repr(key));
    out += (out.empty() ? "" : " ") + Escaped(key) + "=\"" + Escaped(item) + "\"";
  }
  if (!out.empty() && (autospace.IsMissing() || Truth(autospace))) out.insert(0, " ");
  return Value::String(std::move(out));
}

}  // namespace

const FilterTable& MarkupFilters() {
  static const FilterTable kTable = {
      {"escape", FilterEscape}, {"e", FilterEscape}, {"forceescape", FilterForceEscape}, {"safe", FilterSafe},
      {"striptags", FilterStripTags}, {"urlencode", FilterUrlEncode}, {"xmlattr", FilterXmlAttr}};
  return kTable;
}

}  // namespace fathom::jinja
