// Filters to and on numbers.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/number_format.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

// int(text, base) of Python; false: ValueError.
bool ParseInteger(std::string_view text, int base, Int* out) {
  text = Strip(text, nullptr, true, true);
  bool negative = false;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text.size() > 1 && text[0] == '0') {
    const char letter = static_cast<char>(text[1] | 0x20);
    const int prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (prefix != 0 && (base == prefix || base == 0)) {
      base = prefix;
      text.remove_prefix(2);
      if (!text.empty() && text[0] == '_') text.remove_prefix(1);
    }
  }
  if (base == 0) {
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != std::string_view::npos) return false;
    base = 10;
  }
  if (text.empty() || text.front() == '_' || text.back() == '_') return false;
  Int value = 0;
  char previous = 0;
  for (const char c : text) {
    if (c == '_' ? previous == '_' : DigitOf(c) >= base) return false;
    previous = c;
    if (c == '_') continue;
    if (__builtin_mul_overflow(value, Int{base}, &value) || __builtin_add_overflow(value, Int{DigitOf(c)}, &value)) {
      Fail(ErrorClass::kLimit, "an integer of more than 128 bits");
    }
  }
  *out = negative ? -value : value;
  return true;
}

// float(text) of Python; false: ValueError.
bool ParseFloat(std::string_view text, double* out) {
  const std::string stripped(Strip(text, nullptr, true, true));
  std::string digits;
  for (size_t i = 0; i < stripped.size(); ++i) {
    if (stripped[i] != '_') {
      digits += stripped[i];
      continue;
    }
    const auto digit = [&](size_t at) { return at < stripped.size() && stripped[at] >= '0' && stripped[at] <= '9'; };
    if (i == 0 || !digit(i - 1) || !digit(i + 1)) return false;
  }
  const std::string lower = Lower(digits);
  const std::string_view bare = std::string_view(lower).substr(!lower.empty() && (lower[0] == '-' || lower[0] == '+') ? 1 : 0);
  const bool named = bare == "inf" || bare == "infinity" || bare == "nan";
  if (!named && (bare.empty() || bare.find_first_not_of("0123456789.e+-") != std::string_view::npos)) return false;
  char* end = nullptr;
  *out = std::strtod(lower.c_str(), &end);
  return end == lower.c_str() + lower.size() && end != lower.c_str();
}

// int() of a float; false for what has no integer.
bool Truncate(double value, Int* out) {
  if (!std::isfinite(value)) return false;
  if (std::fabs(value) > 1.7e38) Fail(ErrorClass::kLimit, "an integer of more than 128 bits");
  *out = static_cast<Int>(value);
  return true;
}

Value FilterInt(Interpreter&, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("int", args, {"default", "base"}, 0);
  const Value fallback = bound[0].IsMissing() ? Value::Integer(0) : bound[0];
  if (value.IsUndefined()) FailUndefined(value);
  Int out = 0;
  double real = 0;
  if (value.IsString()) {
    const int64_t base = bound[1].IsMissing() ? 10 : bound[1].IsIntegral() ? IntegerArgument(bound[1]) : -1;
    const bool valid_base = base == 0 || (base >= 2 && base <= 36);
    if (valid_base && ParseInteger(value.text(), static_cast<int>(base), &out)) return Value::Integer(out);
    if (ParseFloat(value.text(), &real) && Truncate(real, &out)) return Value::Integer(out);
    return fallback;
  }
  if (value.IsIntegral()) return Value::Integer(value.AsInt());
  if (!value.Is(Kind::kFloat)) return fallback;
  if (std::isinf(value.AsDouble())) Fail(ErrorClass::kArithmetic, "cannot convert float infinity to integer");
  return Truncate(value.AsDouble(), &out) ? Value::Integer(out) : fallback;
}

Value FilterFloat(Interpreter&, const Value& value, const CallArgs& args) {
  const Value given = Bind("float", args, {"default"}, 0)[0];
  const Value fallback = given.IsMissing() ? Value::Float(0) : given;
  if (value.IsUndefined()) FailUndefined(value);
  if (value.IsNumber()) return Value::Float(value.AsDouble());
  double out = 0;
  return value.IsString() && ParseFloat(value.text(), &out) ? Value::Float(out) : fallback;
}

Value FilterAbs(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("abs", args);
  if (!value.IsNumber()) FailType("bad operand type for abs(): '{}'", TypeName(value));
  if (value.Is(Kind::kFloat)) return Value::Float(std::fabs(value.AsDouble()));
  return value.AsInt() < 0 ? Negate(value) : Value::Integer(value.AsInt());
}

// round(value, digits): to the nearest, exact ties to even.
Value RoundCommon(const Value& value, int64_t digits) {
  if (value.IsIntegral()) {
    if (digits >= 0) return Value::Integer(value.AsInt());
    if (digits < -38) return Value::Integer(0);
    Int unit = 1;
    for (int64_t i = 0; i > digits; --i) unit *= 10;
    Int rest = value.AsInt() % unit;
    if (rest < 0) rest += unit;
    Int floor = value.AsInt() - rest;
    const bool odd = (floor / unit) % 2 != 0;
    if (rest > unit - rest || (rest == unit - rest && odd)) floor += unit;
    return Value::Integer(floor);
  }
  const double number = value.AsDouble();
  if (!std::isfinite(number) || digits > 323) return value;
  if (digits < -308) return Value::Float(std::copysign(0.0, number));
  if (digits < 0) {
    const long double unit = powl(10.0L, static_cast<long double>(-digits));
    return Value::Float(static_cast<double>(nearbyintl(static_cast<long double>(number) / unit) * unit));
  }
  const double rounded = std::strtod(FloatDigits(number, 'f', digits, false).c_str(), nullptr);
  return Value::Float(std::copysign(rounded, number));
}

Value FilterRound(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const std::vector<Value> bound = Bind("round", args, {"precision", "method"}, 0);
  const std::string method = bound[1].IsMissing() ? "common" : Str(bound[1]);
  if (method != "common" && method != "ceil" && method != "floor") Fail(ErrorClass::kTemplate, "method must be common, ceil or floor");
  if (value.IsUndefined() && method != "common") FailUndefined(value);
  if (!value.IsNumber()) FailType("type {} doesn't define __round__ method", TypeName(value));
  const Value digits = bound[0].IsMissing() ? Value::Integer(0) : bound[0];
  if (method == "common") {
    if (digits.IsNone() && value.Is(Kind::kFloat)) return FilterInt(interpreter, RoundCommon(value, 0), {});
    return RoundCommon(value, digits.IsNone() ? 0 : IntegerArgument(digits));
  }
  Budget& budget = interpreter.budget();
  const Value unit = Apply(Arithmetic::kPow, Value::Integer(10), digits, budget);
  const Value scaled = Apply(Arithmetic::kMul, value, unit, budget);
  Value whole = scaled;
  if (scaled.Is(Kind::kFloat)) {
    Int out = 0;
    if (!Truncate(method == "ceil" ? std::ceil(scaled.AsDouble()) : std::floor(scaled.AsDouble()), &out)) {
      FailValue("cannot convert float {} to integer", std::isnan(scaled.AsDouble()) ? "NaN" : "infinity");
    }
    whole = Value::Integer(out);
  }
  return Apply(Arithmetic::kDiv, whole, unit, budget);
}

Value FilterFileSize(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  const Value binary_argument = Bind("filesizeformat", args, {"binary"}, 0)[0];
  const bool binary = !binary_argument.IsMissing() && Truth(binary_argument);
  double bytes = 0;
  if (value.IsUndefined()) FailUndefined(value);
  if (value.IsNumber()) bytes = value.AsDouble();
  else if (!value.IsString()) FailType("float() argument must be a string or a real number, not '{}'", TypeName(value));
  else if (!ParseFloat(value.text(), &bytes)) FailValue("could not convert string to float: {}", Repr(value));
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return Value::String("1 Byte");
  if (bytes < base) {
    Int whole = 0;
    if (!Truncate(bytes, &whole)) FailValue("cannot convert float to integer");
    return Value::String(IntText(whole) + " Bytes");
  }
  static constexpr const char* kLetters = "kMGTPEZY";
  double unit = base;
  std::string prefix;
  for (size_t i = 0; i < 8; ++i) {
    unit *= base;
    prefix = std::string(1, binary && i == 0 ? 'K' : kLetters[i]) + (binary ? "iB" : "B");
    if (bytes < unit) break;
  }
  return Value::String(FloatDigits(base * bytes / unit, 'f', 1, false) + " " + prefix);
}

}  // namespace

const FilterTable& NumberFilters() {
  static const FilterTable kTable = {
      {"int", FilterInt}, {"float", FilterFloat}, {"abs", FilterAbs}, {"round", FilterRound}, {"filesizeformat", FilterFileSize}};
  return kTable;
}

}  // namespace fathom::jinja
