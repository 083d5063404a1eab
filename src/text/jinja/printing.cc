#include "text/jinja/printing.h"

#include <charconv>
#include <cmath>

#include "text/jinja/errors.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

int& Nesting() {
  thread_local int nesting = 0;
  return nesting;
}

std::string JoinRepr(const std::vector<Value>& items) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    out += Repr(items[i]);
  }
  return out;
}

std::string ReprDict(const DictObject& dict) {
  std::string out = "{";
  for (const auto& [key, value] : dict.entries) {
    if (out.size() > 1) out += ", ";
    out += Repr(key) + ": " + Repr(value);
  }
  return out + "}";
}

std::string ReprView(const ViewObject& view) {
  std::string out = "[";
  for (const auto& [key, value] : view.dict->entries) {
    if (out.size() > 1) out += ", ";
    if (view.what == ViewObject::What::kKeys) out += Repr(key);
    else if (view.what == ViewObject::What::kValues) out += Repr(value);
    else out += "(" + Repr(key) + ", " + Repr(value) + ")";
  }
  return out + "])";
}

}  // namespace

NestingGuard::NestingGuard() {
  if (++Nesting() > kMaxNesting) {
    --Nesting();
    Fail(ErrorClass::kLimit, "values nested deeper than {} levels", kMaxNesting);
  }
}
NestingGuard::~NestingGuard() { --Nesting(); }

std::string IntText(Int value) { return fmt::format("{}", value); }

std::string ReprFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));
  const size_t e = shortest.find('e');
  const int exponent = std::stoi(std::string(shortest.substr(e + 1)));
  std::string digits;
  for (const char c : shortest.substr(0, e)) if (c >= '0' && c <= '9') digits += c;
  std::string out = std::signbit(value) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (digits.size() > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() < whole) digits.append(whole - digits.size(), '0');
  out += digits.substr(0, whole) + ".";
  return out + (digits.size() > whole ? digits.substr(whole) : "0");
}

std::string ReprText(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = NextCodePoint(text, &pos);
    if (c == static_cast<char32_t>(quote) || c == '\\') out += {'\\', static_cast<char>(c)};
    else if (c == '\n') out += "\\n";
    else if (c == '\r') out += "\\r";
    else if (c == '\t') out += "\\t";
    else if (IsPrintable(c)) out += text.substr(begin, pos - begin);
    else if (c < 0x100) out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    else if (c < 0x10000) out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    else out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
  return out + quote;
}

std::string Repr(const Value& value) {
  const NestingGuard guard;
  switch (value.kind()) {
    case Kind::kMissing: return "missing";
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "None";
    case Kind::kBool: return value.AsBool() ? "True" : "False";
    case Kind::kInt: return IntText(value.AsInt());
    case Kind::kFloat: return ReprFloat(value.AsDouble());
    case Kind::kString: return value.IsMarkup() ? "Markup(" + ReprText(value.text()) + ")" : ReprText(value.text());
    case Kind::kList: return "[" + JoinRepr(value.items()) + "]";
    case Kind::kTuple: return "(" + JoinRepr(value.items()) + (value.items().size() == 1 ? ",)" : ")");
    case Kind::kDict: return ReprDict(value.dict());
    case Kind::kRange: {
      const RangeObject& r = value.range();
      if (r.step == 1) return fmt::format("range({}, {})", r.start, r.stop);
      return fmt::format("range({}, {}, {})", r.start, r.stop, r.step);
    }
    case Kind::kView: return TypeName(value) + "(" + ReprView(value.view());
    case Kind::kIterator: return "<" + TypeName(value) + " object>";
    case Kind::kObject: return value.object()->Repr();
  }
  return {};
}

std::string Str(const Value& value) {
  if (value.IsString()) return value.text();
  if (value.IsUndefined() || value.IsMissing()) return {};
  return Repr(value);
}

std::string TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing: return "MissingType";
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return value.IsMarkup() ? "Markup" : "str";
    case Kind::kList: return "list";
    case Kind::kTuple: return static_cast<const SequenceObject*>(value.object())->group ? "_GroupTuple" : "tuple";
    case Kind::kDict: return "dict";
    case Kind::kRange: return "range";
    case Kind::kView:
      switch (value.view().what) {
        case ViewObject::What::kKeys: return "dict_keys";
        case ViewObject::What::kValues: return "dict_values";
        case ViewObject::What::kItems: return "dict_items";
      }
      return "dict_keys";
    case Kind::kIterator:
    case Kind::kObject: return value.object()->TypeName();
  }
  return {};
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace fathom::jinja
