// Filters on text, and tojson.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/filters.h"
#include "text/jinja/formatting.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/text_search.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

template <std::string (*kConvert)(std::string_view)>
Value ConvertFilter(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("filter", args);
  return Value::String(kConvert(Str(value)), value.IsMarkup());
}

Value FilterString(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("string", args);
  return value.IsString() ? value : Value::String(Str(value));
}

// Each word's first letter up, the rest down; words end at white space, '-' and opening brackets.
std::string TitleWords(std::string_view text) {
  std::string out;
  std::string word;
  const auto flush = [&] {
    if (word.empty()) return;
    size_t pos = 0;
    NextCodePoint(word, &pos);
    out += Upper(std::string_view(word).substr(0, pos)) + Lower(std::string_view(word).substr(pos));
    word.clear();
  };
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = NextCodePoint(text, &pos);
    if (c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || IsSpace(c)) {
      flush();
      out += text.substr(begin, pos - begin);
    } else {
      word += text.substr(begin, pos - begin);
    }
  }
  flush();
  return out;
}

Value FilterTrim(Interpreter&, const Value& value, const CallArgs& args) {
  const Value chars = Bind("trim", args, {"chars"}, 0)[0];
  if (!Absent(chars) && !chars.IsString()) FailType("strip arg must be None or str");
  return Value::String(std::string(Strip(Str(value), Absent(chars) ? nullptr : &chars.text(), true, true)), value.IsMarkup());
}

Value FilterReplace(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("replace", args, {"old", "new", "count"}, 2);
  const int64_t count = Absent(bound[2]) ? -1 : IntegerArgument(bound[2]);
  return Value::String(ReplaceText(Str(value), Str(bound[0]), Str(bound[1]), count, interpreter.budget()));
}

Value FilterIndent(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("indent", args, {"width", "first", "blank"}, 0);
  if (value.IsUndefined()) FailUndefined(value);
  if (!value.IsString()) FailType("unsupported operand type(s) for +=: '{}' and 'str'", TypeName(value));
  std::string indention;
  if (!bound[0].IsMissing() && bound[0].IsString()) {
    indention = bound[0].text();
  } else {
    const int64_t width = bound[0].IsMissing() ? 4 : std::max<int64_t>(0, IntegerArgument(bound[0]));
    interpreter.budget().CheckBytes(static_cast<size_t>(width));
    indention.assign(static_cast<size_t>(width), ' ');
  }
  const bool first = !bound[1].IsMissing() && Truth(bound[1]);
  const bool blank = !bound[2].IsMissing() && Truth(bound[2]);
  const std::string text = value.text() + "\n";
  std::string out = first ? indention : "";
  bool first_line = true;
  for (const std::string_view line : SplitLines(text, false)) {
    if (!first_line) {
      out += "\n";
      if (blank || !line.empty()) out += indention;
    }
    first_line = false;
    out += line;
    if (out.size() > Budget::kMaxBytes) break;
  }
  interpreter.budget().CheckBytes(out.size());
  return Value::String(std::move(out), value.IsMarkup());
}

Value FilterTruncate(Interpreter&, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("truncate", args, {"length", "killwords", "end", "leeway"}, 0);
  const int64_t length = bound[0].IsMissing() ? 255 : IntegerArgument(bound[0]);
  const bool kill_words = !bound[1].IsMissing() && Truth(bound[1]);
  const std::string end = bound[2].IsMissing() ? "..." : TextArgument("truncate", bound[2]);
  const int64_t leeway = Absent(bound[3]) ? 5 : IntegerArgument(bound[3]);
  const auto end_size = static_cast<int64_t>(CountCodePoints(end));
  if (length < end_size) FailValue("expected length >= {}, got {}", end_size, length);
  if (leeway < 0) FailValue("expected leeway >= 0, got {}", leeway);
  if (Length(value) <= length + leeway) return value;
  if (!value.IsString()) FailType("can only truncate str, not {}", TypeName(value));
  const std::string_view head = SliceCodePoints(value.text(), 0, static_cast<size_t>(length - end_size));
  const std::string_view kept = kill_words ? head : SplitRight(head, " ", 1)[0];
  return Value::String(std::string(kept) + end, value.IsMarkup());
}

Value FilterCenter(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const Value width = Bind("center", args, {"width"}, 0)[0];
  return Value::String(CenterText(Str(value), width.IsMissing() ? 80 : IntegerArgument(width), ' ', interpreter.budget()), value.IsMarkup());
}

Value FilterWordCount(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("wordcount", args);
  const std::string text = Str(value);
  Int count = 0;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextCodePoint(text, &pos);
    const bool word = c == '_' || IsAlnum(c);
    if (word && !in_word) ++count;
    in_word = word;
  }
  return Value::Integer(count);
}

Value FilterFormat(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  if (!args.positional.empty() && !args.keyword.empty()) {
    Fail(ErrorClass::kTemplate, "can't handle positional and keyword arguments at the same time");
  }
  const Value format = value.IsString() ? value : Value::String(Str(value));
  if (args.keyword.empty()) return FormatPercent(format, Value::Tuple(args.positional), interpreter.budget());
  Ref<DictObject> fields(new DictObject);
  for (const auto& [name, field] : args.keyword) fields->Set(Value::String(name), field);
  return FormatPercent(format, Value::Of(Kind::kDict, fields.get()), interpreter.budget());
}

Value FilterToJson(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  style.ensure_ascii = !bound[0].IsMissing() && Truth(bound[0]);
  style.sort_keys = !bound[3].IsMissing() && Truth(bound[3]);
  if (!Absent(bound[1])) {
    style.indented = true;
    style.item_separator = ",";
    if (bound[1].IsString()) {
      style.indent = bound[1].text();
    } else {
      const int64_t width = std::max<int64_t>(0, IntegerArgument(bound[1]));
      interpreter.budget().CheckBytes(static_cast<size_t>(width));
      style.indent.assign(static_cast<size_t>(width), ' ');
    }
  }
  if (!Absent(bound[2])) {
    const std::vector<Value> separators = Collect(bound[2], interpreter.budget());
    if (separators.size() != 2) FailValue("not two separators: {}", Repr(bound[2]));
    style.item_separator = TextArgument("separators", separators[0]);
    style.key_separator = TextArgument("separators", separators[1]);
  }
  return Value::String(DumpJson(value, style, interpreter.budget()));
}

}  // namespace

const FilterTable& TextFilters() {
  static const FilterTable kTable = {
      {"upper", ConvertFilter<Upper>}, {"lower", ConvertFilter<Lower>}, {"capitalize", ConvertFilter<Capitalize>}, {"title", ConvertFilter<TitleWords>},
      {"string", FilterString}, {"trim", FilterTrim}, {"replace", FilterReplace}, {"indent", FilterIndent},
      {"truncate", FilterTruncate}, {"center", FilterCenter}, {"wordcount", FilterWordCount}, {"format", FilterFormat},
      {"tojson", FilterToJson}};
  return kTable;
}

}  // namespace fathom::jinja
