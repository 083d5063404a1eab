// json.dumps.
#include <algorithm>
#include <cmath>

#include "text/jinja/errors.h"
#include "text/jinja/formatting.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

class JsonDumper {
 public:
  JsonDumper(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  std::string Run(const Value& value) {
    Write(value, 0);
    return std::move(out_);
  }

 private:
  void Write(const Value& value, size_t level) {
    const NestingGuard guard;
    budget_.Charge(1);
    if (out_.size() > Budget::kMaxBytes) budget_.CheckBytes(out_.size());
    switch (value.kind()) {
      case Kind::kNone: out_ += "null"; return;
      case Kind::kBool: out_ += value.AsBool() ? "true" : "false"; return;
      case Kind::kInt: out_ += IntText(value.AsInt()); return;
      case Kind::kFloat: out_ += FloatText(value.AsDouble()); return;
      case Kind::kString: WriteText(value.text()); return;
      case Kind::kList: case Kind::kTuple: WriteList(value.items(), level); return;
      case Kind::kDict: WriteDict(value.dict(), level); return;
      default: FailType("Object of type {} is not JSON serializable", TypeName(value));
    }
  }

  static std::string FloatText(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return ReprFloat(value);
  }

  void NewLine(size_t level) {
    if (!style_.indented) return;
    budget_.CheckBytes(level * style_.indent.size());
    out_ += '\n';
    for (size_t i = 0; i < level; ++i) out_ += style_.indent;
  }

  void WriteList(const std::vector<Value>& items, size_t level) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      Write(items[i], level + 1);
    }
    NewLine(level);
    out_ += ']';
  }

  void WriteDict(const DictObject& dict, size_t level) {
    if (dict.entries.empty()) {
      out_ += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto* a, const auto* b) { return Compare(Order::kLess, a->first, b->first); });
    }
    out_ += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      WriteText(KeyText(entries[i]->first));
      out_ += style_.key_separator;
      Write(entries[i]->second, level + 1);
    }
    NewLine(level);
    out_ += '}';
  }

  static std::string KeyText(const Value& key) {
    switch (key.kind()) {
      case Kind::kString: return key.text();
      case Kind::kNone: return "null";
      case Kind::kBool: return key.AsBool() ? "true" : "false";
      case Kind::kInt: return IntText(key.AsInt());
      case Kind::kFloat: return FloatText(key.AsDouble());
      default: FailType("keys must be str, int, float, bool or None, not {}", TypeName(key));
    }
  }

  void WriteText(const std::string& text) {
    budget_.ChargeBytes(text.size());
    out_ += '"';
    for (size_t pos = 0; pos < text.size();) {
      const size_t begin = pos;
      const char32_t c = NextCodePoint(text, &pos);
      if (c == '"' || c == '\\') out_ += {'\\', static_cast<char>(c)};
      else if (c == '\n') out_ += "\\n";
      else if (c == '\r') out_ += "\\r";
      else if (c == '\t') out_ += "\\t";
      else if (c == '\b') out_ += "\\b";
      else if (c == '\f') out_ += "\\f";
      else if (c < 0x20 || (c > 0x7e && style_.ensure_ascii)) out_ += Escape(c);
      else out_.append(text, begin, pos - begin);
    }
    out_ += '"';
  }

  static std::string Escape(char32_t c) {
    const auto unit = [](uint32_t u) { return fmt::format("\\u{:04x}", u); };
    if (c < 0x10000) return unit(static_cast<uint32_t>(c));
    const auto rest = static_cast<uint32_t>(c) - 0x10000;
    return unit(0xd800 + (rest >> 10)) + unit(0xdc00 + (rest & 0x3ff));
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

}  // namespace

std::string DumpJson(const Value& value, const JsonStyle& style, Budget& budget) { return JsonDumper(style, budget).Run(value); }

}  // namespace fathom::jinja
