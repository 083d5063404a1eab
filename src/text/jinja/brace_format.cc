// str.format and the format specification language.
#include <algorithm>
#include <cmath>

#include "text/jinja/access.h"
#include "text/jinja/errors.h"
#include "text/jinja/formatting.h"
#include "text/jinja/number_format.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

bool IsAlign(char32_t c) { return c == '<' || c == '>' || c == '^' || c == '='; }

int64_t ReadDigits(const std::string& spec, size_t* pos) {
  int64_t n = 0;
  for (; *pos < spec.size() && spec[*pos] >= '0' && spec[*pos] <= '9'; ++*pos) {
    n = n * 10 + (spec[*pos] - '0');
    if (n > 100'000'000) FailValue("Too many decimal digits in format string");
  }
  return n;
}

FormatOptions ParseSpec(const std::string& spec, const Value& value) {
  FormatOptions out;
  size_t pos = 0;
  size_t second = 0;
  const char32_t first = spec.empty() ? 0 : NextCodePoint(spec, &second);
  if (second < spec.size() && IsAlign(static_cast<unsigned char>(spec[second]))) {
    out.fill = first;
    out.align = spec[second];
    pos = second + 1;
  } else if (!spec.empty() && IsAlign(first)) {
    out.align = spec[0];
    pos = 1;
  }
  const auto take = [&](const char* set) {
    return pos < spec.size() && std::string_view(set).find(spec[pos]) != std::string_view::npos ? spec[pos++] : '\0';
  };
  if (const char sign = take("+- ")) out.sign = sign;
  out.alternate = take("#") != 0;
  if (take("0") && out.align == 0) out.fill = '0', out.align = value.IsString() ? '<' : '=';
  out.width = ReadDigits(spec, &pos);
  out.group = take(",_");
  if (take(".")) {
    const size_t begin = pos;
    out.precision = ReadDigits(spec, &pos);
    if (pos == begin) FailValue("Format specifier missing precision");
  }
  if (pos < spec.size()) out.type = spec[pos++];
  if (pos != spec.size()) FailValue("Invalid format specifier '{}' for object of type '{}'", spec, TypeName(value));
  return out;
}

[[noreturn]] void FailCode(char type, const Value& value) {
  FailValue("Unknown format code '{}' for object of type '{}'", type, TypeName(value));
}

std::string FormatFloat(double number, const FormatOptions& options, const Value& value, Budget& budget) {
  std::string digits;
  switch (options.type) {
    case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
      digits = FloatDigits(number, options.type, options.precision, options.alternate);
      break;
    case 'n': digits = FloatDigits(number, 'g', options.precision, options.alternate); break;
    case '%': digits = FloatDigits(number * 100, 'f', options.precision, options.alternate) + "%"; break;
    case 0:
      if (options.precision < 0) {
        digits = ReprFloat(std::fabs(number));
      } else {
        digits = FloatDigits(number, 'g', options.precision, options.alternate);
        if (std::isfinite(number) && digits.find_first_of(".e") == std::string::npos) digits += ".0";
      }
      break;
    default: FailCode(options.type, value);
  }
  return PadNumber(std::signbit(number) && !std::isnan(number), "", digits, options, budget);
}

std::string FormatInteger(const Value& value, const FormatOptions& options, Budget& budget) {
  const Int number = value.AsInt();
  if (options.type == 'c') {
    std::string text;
    if (number < 0 || number > 0x10ffff) Fail(ErrorClass::kArithmetic, "%c arg not in range(0x110000)");
    AppendCodePoint(&text, static_cast<char32_t>(number));
    return PadText(text, options, '<', budget);
  }
  if (options.type != 0 && std::string_view("eEfFgG%").find(options.type) != std::string_view::npos) {
    return FormatFloat(static_cast<double>(number), options, value, budget);
  }
  if (options.precision >= 0) FailValue("Precision not allowed in integer format specifier");
  int base = 10;
  std::string prefix;
  switch (options.type) {
    case 0: case 'd': case 'n': break;
    case 'b': base = 2, prefix = "0b"; break;
    case 'o': base = 8, prefix = "0o"; break;
    case 'x': base = 16, prefix = "0x"; break;
    case 'X': base = 16, prefix = "0X"; break;
    default: FailCode(options.type, value);
  }
  return PadNumber(number < 0, options.alternate ? prefix : "", MagnitudeDigits(number, base, options.type == 'X'), options, budget);
}

class BraceFormatter {
 public:
  BraceFormatter(const CallArgs& args, bool escape, Budget& budget) : args_(args), escape_(escape), budget_(budget) {}

  std::string Run(const std::string& text, int depth) {
    if (depth < 0) FailValue("Max string recursion exceeded");
    std::string out;
    for (size_t pos = 0; pos < text.size();) {
      const char c = text[pos];
      if ((c == '{' || c == '}') && pos + 1 < text.size() && text[pos + 1] == c) {
        out += c;
        pos += 2;
      } else if (c == '}') {
        FailValue("Single '}}' encountered in format string");
      } else if (c == '{') {
        out += Field(text, &pos, depth);
      } else {
        out += c;
        ++pos;
      }
      if (out.size() > Budget::kMaxBytes) budget_.CheckBytes(out.size());
    }
    return out;
  }

 private:
  std::string Field(const std::string& text, size_t* pos, int depth) {
    budget_.Charge(1);
    const size_t begin = ++*pos;
    int open = 1;
    for (; *pos < text.size(); ++*pos) {
      if (text[*pos] == '{') ++open;
      if (text[*pos] == '}' && --open == 0) break;
    }
    if (open > 0 && begin == text.size()) FailValue("Single '{{' encountered in format string");
    if (open > 0) FailValue("expected '}}' before end of string");
    const std::string field = text.substr(begin, *pos - begin);
    ++*pos;
    size_t name_end = 0;
    for (int brackets = 0; name_end < field.size(); ++name_end) {
      if (field[name_end] == '[') ++brackets;
      if (field[name_end] == ']') --brackets;
      if (brackets <= 0 && (field[name_end] == '!' || field[name_end] == ':')) break;
    }
    Value value = Lookup(field.substr(0, name_end));
    size_t rest = name_end;
    if (rest < field.size() && field[rest] == '!') {
      if (rest + 1 >= field.size()) FailValue("end of string while looking for conversion specifier");
      const char conversion = field[rest + 1];
      rest += 2;
      if (conversion == 's') value = Value::String(Str(value));
      else if (conversion == 'r' || conversion == 'a') value = Value::String(Repr(value));
      else FailValue("Unknown conversion specifier {}", conversion);
      if (rest < field.size() && field[rest] != ':') FailValue("expected ':' after conversion specifier");
    }
    const std::string spec = rest < field.size() ? Run(field.substr(rest + 1), depth - 1) : "";
    std::string out = FormatSpec(value, spec, budget_);
    return escape_ && !value.IsMarkup() ? EscapeHtml(out) : out;
  }

  Value Lookup(const std::string& name) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = First(name.substr(0, first_end));
    for (size_t pos = first_end; pos < name.size();) {
      if (name[pos] == '.') {
        const size_t end = std::min(name.find_first_of(".[", pos + 1), name.size());
        if (end == pos + 1) FailValue("Empty attribute in format string");
        value = GetAttribute(value, name.substr(pos + 1, end - pos - 1));
        pos = end;
      } else if (name[pos] == '[') {
        const size_t end = name.find(']', pos);
        if (end == std::string::npos) FailValue("Missing ']' in format string");
        const std::string key = name.substr(pos + 1, end - pos - 1);
        if (key.empty()) FailValue("Empty attribute in format string");
        value = GetItem(value, IsNumber(key) ? Value::Integer(Index(key)) : Value::String(key));
        pos = end + 1;
      } else {
        FailValue("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  static bool IsNumber(const std::string& text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  }
  static int64_t Index(const std::string& text) {
    if (text.size() > 9) FailValue("Too many decimal digits in format string");
    return std::stoll(text);
  }

  Value First(const std::string& name) {
    if (name.empty() || IsNumber(name)) {
      const bool automatic = name.empty();
      if (automatic ? next_ < 0 : next_ > 0) {
        FailValue("cannot switch from {}", automatic ? "manual field specification to automatic field numbering"
                                                     : "automatic field numbering to manual field specification");
      }
      const int64_t index = automatic ? next_++ : Index(name);
      if (!automatic) next_ = -1;
      if (index >= static_cast<int64_t>(args_.positional.size())) {
        Fail(ErrorClass::kLookup, "Replacement index {} out of range for positional args tuple", index);
      }
      return args_.positional[static_cast<size_t>(index)];
    }
    for (const auto& [key, value] : args_.keyword) if (key == name) return value;
    throw RenderError(ErrorClass::kLookup, ReprText(name));
  }

  const CallArgs& args_;
  const bool escape_;
  Budget& budget_;
  int64_t next_ = 0;  // of {}; -1 once {0} was seen
};

}  // namespace

std::string FormatSpec(const Value& value, const std::string& spec, Budget& budget) {
  if (spec.empty()) return Str(value);
  if (!value.IsString() && !value.IsNumber()) FailType("unsupported format string passed to {}.__format__", TypeName(value));
  const FormatOptions options = ParseSpec(spec, value);
  if (value.IsString()) {
    if (options.type != 0 && options.type != 's') FailCode(options.type, value);
    if (options.align == '=') FailValue("'=' alignment not allowed in string format specifier");
    if (options.sign != '-') FailValue("Sign not allowed in string format specifier");
    std::string text = value.text();
    if (options.precision >= 0) text = std::string(SliceCodePoints(text, 0, static_cast<size_t>(options.precision)));
    return PadText(text, options, '<', budget);
  }
  return value.Is(Kind::kFloat) ? FormatFloat(value.AsDouble(), options, value, budget) : FormatInteger(value, options, budget);
}

Value FormatBraces(const Value& format, const CallArgs& args, Budget& budget) {
  std::string out = BraceFormatter(args, format.IsMarkup(), budget).Run(format.text(), 2);
  budget.CheckBytes(out.size());
  return Value::String(std::move(out), format.IsMarkup());
}

}  // namespace fathom::jinja
