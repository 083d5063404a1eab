// The methods of str.
#include <algorithm>
#include <map>

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/formatting.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/jinja/number_format.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/text_search.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

Value Text(const Value& self, std::string text) { return Value::String(std::move(text), self.IsMarkup()); }

// An argument that becomes part of a Markup is escaped.
std::string Part(const Value& self, const char* function, const Value& value) {
  const std::string& text = TextArgument(function, value);
  return self.IsMarkup() && !value.IsMarkup() ? EscapeHtml(text) : text;
}

template <std::string (*kConvert)(std::string_view)>
Value ConvertMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("str method", args);
  return Text(self, kConvert(self.text()));
}

template <bool kLeft, bool kRight>
Value StripMethod(Interpreter&, const Value& self, const CallArgs& args) {
  if (!args.keyword.empty()) FailType("str.strip() takes no keyword arguments");
  const Value chars = Bind("strip", args, {"chars"}, 0)[0];
  if (!Absent(chars) && !chars.IsString()) FailType("strip arg must be None or str");
  return Text(self, std::string(Strip(self.text(), Absent(chars) ? nullptr : &chars.text(), kLeft, kRight)));
}

template <bool kFromRight>
Value SplitMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  const std::vector<Value> bound = Bind("split", args, {"sep", "maxsplit"}, 0);
  const int64_t limit = bound[1].IsMissing() ? -1 : IntegerArgument(bound[1]);
  std::vector<std::string_view> pieces;
  if (Absent(bound[0])) {
    pieces = kFromRight ? SplitSpaceRight(self.text(), limit) : SplitSpace(self.text(), limit);
  } else {
    if (!bound[0].IsString()) FailType("must be str or None, not {}", TypeName(bound[0]));
    if (bound[0].text().empty()) FailValue("empty separator");
    pieces = kFromRight ? SplitRight(self.text(), bound[0].text(), limit) : Split(self.text(), bound[0].text(), limit);
  }
  interpreter.budget().ChargeItems(pieces.size());
  std::vector<Value> out;
  for (const std::string_view piece : pieces) out.push_back(Text(self, std::string(piece)));
  return Value::List(std::move(out));
}

Value SplitLinesMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  const Value keep = Bind("splitlines", args, {"keepends"}, 0)[0];
  std::vector<Value> out;
  for (const std::string_view line : SplitLines(self.text(), !keep.IsMissing() && Truth(keep))) {
    interpreter.budget().Charge(1);
    out.push_back(Text(self, std::string(line)));
  }
  return Value::List(std::move(out));
}

template <bool kFromRight>
Value PartitionMethod(Interpreter&, const Value& self, const CallArgs& args) {
  const Value separator = Bind("partition", args, {"sep"}, 1)[0];
  const std::string& sep = TextArgument("partition", separator);
  if (sep.empty()) FailValue("empty separator");
  const std::string& text = self.text();
  const size_t at = kFromRight ? text.rfind(sep) : text.find(sep);
  if (at == std::string::npos) {
    const Value empty = Text(self, "");
    return kFromRight ? Value::Tuple({empty, empty, self}) : Value::Tuple({self, empty, empty});
  }
  return Value::Tuple({Text(self, text.substr(0, at)), Text(self, sep), Text(self, text.substr(at + sep.size()))});
}

// [start, end) of the arguments, as bytes of the text; false when start lies past the end.
bool Window(const Value& self, const Value& start, const Value& end, std::string_view* window, int64_t* offset) {
  const int64_t size = Length(self);
  const auto resolve = [&](const Value& v, int64_t fallback) {
    if (Absent(v)) return fallback;
    if (!v.IsIntegral()) FailType("slice indices must be integers or None or have an __index__ method");
    const int64_t i = IntegerArgument(v);
    return i < 0 ? std::max<int64_t>(0, i + size) : i;
  };
  const int64_t begin = resolve(start, 0);
  const int64_t stop = std::min(resolve(end, size), size);
  if (begin > size || begin > stop) return false;
  *offset = begin;
  *window = SliceCodePoints(self.text(), static_cast<size_t>(begin), static_cast<size_t>(stop));
  return true;
}

template <bool kFromRight, bool kMustFind>
Value FindTextMethod(Interpreter&, const Value& self, const CallArgs& args) {
  const std::vector<Value> bound = Bind("find", args, {"sub", "start", "end"}, 1);
  const std::string& sub = TextArgument("find", bound[0]);
  std::string_view window;
  int64_t offset = 0;
  size_t at = std::string_view::npos;
  if (Window(self, bound[1], bound[2], &window, &offset)) at = kFromRight ? window.rfind(sub) : window.find(sub);
  if (at != std::string_view::npos) return Value::Integer(offset + static_cast<int64_t>(CountCodePoints(window.substr(0, at))));
  if (kMustFind) FailValue("substring not found");
  return Value::Integer(-1);
}

Value CountTextMethod(Interpreter&, const Value& self, const CallArgs& args) {
  const std::vector<Value> bound = Bind("count", args, {"sub", "start", "end"}, 1);
  const std::string& sub = TextArgument("count", bound[0]);
  std::string_view window;
  int64_t offset = 0;
  if (!Window(self, bound[1], bound[2], &window, &offset)) return Value::Integer(0);
  if (sub.empty()) return Value::Integer(static_cast<Int>(CountCodePoints(window)) + 1);
  Int count = 0;
  for (size_t at = window.find(sub); at != std::string_view::npos; at = window.find(sub, at + sub.size())) ++count;
  return Value::Integer(count);
}

template <bool kEnds>
Value AffixMethod(Interpreter&, const Value& self, const CallArgs& args) {
  const char* name = kEnds ? "endswith" : "startswith";
  const std::vector<Value> bound = Bind(name, args, {"prefix", "start", "end"}, 1);
  std::string_view window;
  int64_t offset = 0;
  const bool inside = Window(self, bound[1], bound[2], &window, &offset);
  const auto matches = [&](const Value& affix) {
    if (!affix.IsString()) FailType("tuple for {} must only contain str, not {}", name, TypeName(affix));
    return inside && (kEnds ? window.ends_with(affix.text()) : window.starts_with(affix.text()));
  };
  if (bound[0].Is(Kind::kTuple)) {
    return Value::Bool(std::any_of(bound[0].items().begin(), bound[0].items().end(), matches));
  }
  if (!bound[0].IsString()) FailType("{} first arg must be str or a tuple of str, not {}", name, TypeName(bound[0]));
  return Value::Bool(matches(bound[0]));
}

Value ReplaceMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  if (!args.keyword.empty()) FailType("str.replace() takes no keyword arguments");
  const std::vector<Value> bound = Bind("replace", args, {"old", "new", "count"}, 2);
  const int64_t count = bound[2].IsMissing() ? -1 : IntegerArgument(bound[2]);
  const std::string& old_text = TextArgument("replace", bound[0]);
  return Text(self, ReplaceText(self.text(), old_text, Part(self, "replace", bound[1]), count, interpreter.budget()));
}

Value JoinMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  const Value iterable = Bind("join", args, {"iterable"}, 1)[0];
  if (!IsIterable(iterable)) FailType("can only join an iterable");
  std::string out;
  size_t i = 0;
  for (const Value& item : Collect(iterable, interpreter.budget())) {
    if (!item.IsString()) FailType("sequence item {}: expected str instance, {} found", i, TypeName(item));
    if (i++ > 0) out += self.text();
    out += Part(self, "join", item);
    if (out.size() > Budget::kMaxBytes) break;
  }
  interpreter.budget().CheckBytes(out.size());
  return Text(self, std::move(out));
}

template <char kAlign>
Value JustifyMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  const std::vector<Value> bound = Bind("justify", args, {"width", "fillchar"}, 1);
  FormatOptions options;
  options.width = IntegerArgument(bound[0]);
  if (!bound[1].IsMissing()) {
    const std::string& fill = TextArgument("justify", bound[1]);
    if (CountCodePoints(fill) != 1) FailType("The fill character must be exactly one character long");
    size_t pos = 0;
    options.fill = NextCodePoint(fill, &pos);
  }
  if (kAlign == '^') return Text(self, CenterText(self.text(), options.width, options.fill, interpreter.budget()));
  return Text(self, PadText(self.text(), options, kAlign, interpreter.budget()));
}

Value ZfillMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  FormatOptions options;
  options.width = IntegerArgument(Bind("zfill", args, {"width"}, 1)[0]);
  options.fill = '0';
  const std::string& text = self.text();
  if (text.empty() || (text[0] != '-' && text[0] != '+')) return Text(self, PadText(text, options, '>', interpreter.budget()));
  --options.width;
  return Text(self, text[0] + PadText(text.substr(1), options, '>', interpreter.budget()));
}

Value ExpandTabsMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  const Value size = Bind("expandtabs", args, {"tabsize"}, 0)[0];
  const int64_t tab = size.IsMissing() ? 8 : IntegerArgument(size);
  std::string out;
  int64_t column = 0;
  for (size_t pos = 0; pos < self.text().size();) {
    const size_t begin = pos;
    const char32_t c = NextCodePoint(self.text(), &pos);
    if (c == '\t') {
      const int64_t width = tab > 0 ? tab - column % tab : 0;
      interpreter.budget().CheckBytes(out.size() / 64 + static_cast<size_t>(width));
      out.append(static_cast<size_t>(width), ' ');
      column += width;
      if (out.size() > Budget::kMaxBytes) interpreter.budget().CheckBytes(out.size());
    } else {
      out.append(self.text(), begin, pos - begin);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return Text(self, std::move(out));
}

template <bool kSuffix>
Value RemoveAffixMethod(Interpreter&, const Value& self, const CallArgs& args) {
  const Value affix = Bind("removeprefix", args, {"affix"}, 1)[0];
  const std::string& part = TextArgument("removeprefix", affix);
  const std::string& text = self.text();
  if (kSuffix && text.ends_with(part)) return Text(self, text.substr(0, text.size() - part.size()));
  if (!kSuffix && text.starts_with(part)) return Text(self, text.substr(part.size()));
  return self;
}

// str.isX: not empty, and every code point passes.
template <bool (*kPredicate)(char32_t)>
Value AllMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("str method", args);
  const std::string& text = self.text();
  for (size_t pos = 0; pos < text.size();) if (!kPredicate(NextCodePoint(text, &pos))) return Value::Bool(false);
  return Value::Bool(!text.empty());
}

Value IsPrintableMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("isprintable", args);
  const std::string& text = self.text();
  for (size_t pos = 0; pos < text.size();) if (!IsPrintable(NextCodePoint(text, &pos))) return Value::Bool(false);
  return Value::Bool(true);
}

template <const char* kTest>
Value CaseMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  return FindTest(kTest)(interpreter, self, args);
}
constexpr char kLowerTest[] = "lower";
constexpr char kUpperTest[] = "upper";

Value IsTitleMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("istitle", args);
  bool cased = false;
  bool previous = false;
  for (size_t pos = 0; pos < self.text().size();) {
    const char32_t c = NextCodePoint(self.text(), &pos);
    const bool upper = IsUpper(c) || IsTitle(c);
    if ((upper && previous) || (IsLower(c) && !previous)) return Value::Bool(false);
    previous = upper || IsLower(c);
    cased = cased || previous;
  }
  return Value::Bool(cased);
}

Value IsAsciiMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("isascii", args);
  return Value::Bool(IsAscii(self.text()));
}

Value IsIdentifierMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("isidentifier", args);
  return Value::Bool(IsIdentifier(self.text()));
}

Value FormatMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) { return FormatBraces(self, args, interpreter.budget()); }

Value FormatMapMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  const Value mapping = Bind("format_map", args, {"mapping"}, 1)[0];
  if (!mapping.Is(Kind::kDict)) FailType("format_map() argument must be a mapping, not {}", TypeName(mapping));
  CallArgs fields;
  for (const auto& [key, value] : mapping.dict().entries) if (key.IsString()) fields.keyword.emplace_back(key.text(), value);
  return FormatBraces(self, fields, interpreter.budget());
}

}  // namespace

FilterFunction FindStringMethod(std::string_view name) {
  static const std::map<std::string_view, FilterFunction> kMethods = {
      {"upper", ConvertMethod<Upper>}, {"lower", ConvertMethod<Lower>}, {"title", ConvertMethod<Title>}, {"capitalize", ConvertMethod<Capitalize>},
      {"casefold", ConvertMethod<CaseFold>}, {"swapcase", ConvertMethod<SwapCase>},
      {"strip", StripMethod<true, true>}, {"lstrip", StripMethod<true, false>}, {"rstrip", StripMethod<false, true>},
      {"split", SplitMethod<false>}, {"rsplit", SplitMethod<true>}, {"splitlines", SplitLinesMethod},
      {"partition", PartitionMethod<false>}, {"rpartition", PartitionMethod<true>},
      {"find", FindTextMethod<false, false>}, {"rfind", FindTextMethod<true, false>},
      {"index", FindTextMethod<false, true>}, {"rindex", FindTextMethod<true, true>}, {"count", CountTextMethod},
      {"startswith", AffixMethod<false>}, {"endswith", AffixMethod<true>}, {"replace", ReplaceMethod}, {"join", JoinMethod},
      {"ljust", JustifyMethod<'<'>}, {"rjust", JustifyMethod<'>'>}, {"center", JustifyMethod<'^'>}, {"zfill", ZfillMethod},
      {"expandtabs", ExpandTabsMethod}, {"removeprefix", RemoveAffixMethod<false>}, {"removesuffix", RemoveAffixMethod<true>},
      {"isalpha", AllMethod<IsAlpha>}, {"isdigit", AllMethod<IsDigit>}, {"isdecimal", AllMethod<IsDecimal>},
      {"isnumeric", AllMethod<IsNumeric>}, {"isspace", AllMethod<IsSpace>}, {"isalnum", AllMethod<IsAlnum>},
      {"isprintable", IsPrintableMethod}, {"islower", CaseMethod<kLowerTest>}, {"isupper", CaseMethod<kUpperTest>},
      {"istitle", IsTitleMethod}, {"isascii", IsAsciiMethod}, {"isidentifier", IsIdentifierMethod},
      {"format", FormatMethod}, {"format_map", FormatMapMethod}};
  const auto it = kMethods.find(name);
  return it == kMethods.end() ? nullptr : it->second;
}

}  // namespace fathom::jinja
