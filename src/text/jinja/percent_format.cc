// str % arguments.
#include <cmath>

#include "text/jinja/errors.h"
#include "text/jinja/formatting.h"
#include "text/jinja/number_format.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(const Value& format, const Value& arguments, Budget& budget)
      : text_(format.text()), escape_(format.IsMarkup()), arguments_(arguments), budget_(budget) {}

  std::string Run() {
    std::string out;
    while (pos_ < text_.size()) {
      const size_t percent = std::min(text_.find('%', pos_), text_.size());
      out.append(text_, pos_, percent - pos_);
      pos_ = percent;
      if (pos_ < text_.size()) out += Directive();
      budget_.Charge(1);
      if (out.size() > Budget::kMaxBytes) budget_.CheckBytes(out.size());
    }
    const bool lenient = arguments_.Is(Kind::kDict) || arguments_.Is(Kind::kList) || arguments_.Is(Kind::kRange) || arguments_.IsUndefined();
    const size_t given = arguments_.Is(Kind::kTuple) ? arguments_.items().size() : 1;
    if (!lenient && next_ < given) FailType("not all arguments converted during string formatting");
    return out;
  }

 private:
  char Peek() const {
    if (pos_ >= text_.size()) FailValue("incomplete format");
    return text_[pos_];
  }

  const Value& NextArgument() {
    if (keyed_) return *keyed_;
    const bool tuple = arguments_.Is(Kind::kTuple);
    if (next_ >= (tuple ? arguments_.items().size() : 1)) FailType("not enough arguments for format string");
    return tuple ? arguments_.items()[next_++] : (++next_, arguments_);
  }

  int64_t Number() {
    if (Peek() == '*') {
      ++pos_;
      const Value& v = NextArgument();
      if (!v.IsIntegral()) FailType("* wants int");
      if (v.AsInt() > 100'000'000 || v.AsInt() < -100'000'000) FailValue("width too big");
      return static_cast<int64_t>(v.AsInt());
    }
    int64_t n = 0;
    while (Peek() >= '0' && Peek() <= '9') {
      n = n * 10 + (Peek() - '0');
      if (n > 100'000'000) FailValue("width too big");
      ++pos_;
    }
    return n;
  }

  std::string Directive() {
    ++pos_;  // '%'
    keyed_ = nullptr;
    if (Peek() == '(') ReadKey();
    FormatOptions options;
    bool zero = false;
    for (;; ++pos_) {
      const char c = Peek();
      if (c == '-') options.align = '<';
      else if (c == '+') options.sign = '+';
      else if (c == ' ') options.sign = options.sign == '+' ? '+' : ' ';
      else if (c == '#') options.alternate = true;
      else if (c == '0') zero = true;
      else break;
    }
    options.width = Number();
    if (options.width < 0) options.align = '<', options.width = -options.width;
    if (Peek() == '.') {
      ++pos_;
      options.precision = std::max<int64_t>(0, Number());
    }
    if (Peek() == 'l' || Peek() == 'h' || Peek() == 'L') ++pos_;
    const char type = Peek();
    ++pos_;
    if (type == '%') return "%";
    if (zero && options.align == 0) options.align = '=', options.fill = '0';
    return Convert(type, options);
  }

  void ReadKey() {
    if (!arguments_.Is(Kind::kDict)) FailType("format requires a mapping");
    const size_t begin = ++pos_;
    for (int depth = 1; depth > 0; ++pos_) {
      if (pos_ >= text_.size()) FailValue("incomplete format key");
      if (text_[pos_] == '(') ++depth;
      if (text_[pos_] == ')') --depth;
    }
    const std::string key = text_.substr(begin, pos_ - 1 - begin);
    keyed_ = arguments_.dict().Find(std::string_view(key));
    if (keyed_ == nullptr) throw RenderError(ErrorClass::kLookup, ReprText(key));
  }

  std::string Convert(char type, FormatOptions options) {
    switch (type) {
      case 's': case 'r': case 'a': {
        const Value& v = NextArgument();
        std::string text = type == 's' ? Str(v) : Repr(v);
        if (escape_ && !v.IsMarkup()) text = EscapeHtml(text);
        if (options.precision >= 0) text = std::string(SliceCodePoints(text, 0, static_cast<size_t>(options.precision)));
        if (options.align == '=') options.align = '>', options.fill = ' ';
        return PadText(text, options, '>', budget_);
      }
      case 'd': case 'i': case 'u': case 'x': case 'X': case 'o': return ConvertInteger(type, options);
      case 'e': case 'E': case 'f': case 'F': case 'g': case 'G': {
        const Value& v = NextArgument();
        if (!v.IsNumber()) FailType("must be real number, not {}", TypeName(v));
        const double number = v.AsDouble();
        return PadNumber(std::signbit(number) && !std::isnan(number), "", FloatDigits(number, type, options.precision, options.alternate),
                         options, budget_);
      }
      case 'c': {
        const Value& v = NextArgument();
        std::string text;
        if (v.IsIntegral() && v.AsInt() >= 0 && v.AsInt() < 0x110000) AppendCodePoint(&text, static_cast<char32_t>(v.AsInt()));
        else if (v.IsString() && CountCodePoints(v.text()) == 1) text = v.text();
        else FailType("%c requires int or char");
        if (options.align == '=') options.align = '>', options.fill = ' ';
        return PadText(text, options, '>', budget_);
      }
      default:
        FailValue("unsupported format character '{}' (0x{:x}) at index {}", type, static_cast<unsigned char>(type), pos_ - 1);
    }
  }

  std::string ConvertInteger(char type, const FormatOptions& options) {
    const Value& v = NextArgument();
    const bool decimal = type == 'd' || type == 'i' || type == 'u';
    Int number = 0;
    if (v.IsIntegral()) {
      number = v.AsInt();
    } else if (decimal && v.Is(Kind::kFloat)) {
      const double real = v.AsDouble();
      if (!std::isfinite(real)) FailValue("cannot convert float {} to integer", std::isnan(real) ? "NaN" : "infinity");
      if (std::fabs(real) > 1e38) Fail(ErrorClass::kLimit, "an integer of more than 128 bits");
      number = static_cast<Int>(real);
    } else if (v.IsUndefined()) {
      FailUndefined(v);
    } else if (decimal) {
      FailType("%{} format: a real number is required, not {}", type, TypeName(v));
    } else {
      FailType("%{} format: an integer is required, not {}", type, TypeName(v));
    }
    std::string digits = MagnitudeDigits(number, decimal ? 10 : type == 'o' ? 8 : 16, type == 'X');
    if (options.precision > 0) {
      budget_.CheckBytes(static_cast<size_t>(options.precision));
      if (static_cast<int64_t>(digits.size()) < options.precision) digits.insert(0, static_cast<size_t>(options.precision) - digits.size(), '0');
    }
    const std::string prefix = options.alternate && !decimal ? std::string("0") + type : "";
    return PadNumber(number < 0, prefix, digits, options, budget_);
  }

  const std::string& text_;
  const bool escape_;
  const Value& arguments_;
  Budget& budget_;
  size_t pos_ = 0;
  size_t next_ = 0;
  const Value* keyed_ = nullptr;
};

}  // namespace

Value FormatPercent(const Value& format, const Value& arguments, Budget& budget) {
  std::string out = PercentFormatter(format, arguments, budget).Run();
  budget.CheckBytes(out.size());
  return Value::String(std::move(out), format.IsMarkup());
}

}  // namespace fathom::jinja
