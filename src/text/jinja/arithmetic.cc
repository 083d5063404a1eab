// Python's arithmetic on values.
#include <cmath>

#include "text/jinja/errors.h"
#include "text/jinja/formatting.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {
namespace {

const char* Symbol(Arithmetic op) {
  switch (op) {
    case Arithmetic::kAdd: return "+";
    case Arithmetic::kSub: return "-";
    case Arithmetic::kMul: return "*";
    case Arithmetic::kDiv: return "/";
    case Arithmetic::kFloorDiv: return "//";
    case Arithmetic::kMod: return "%";
    case Arithmetic::kPow: return "** or pow()";
  }
  return "";
}

[[noreturn]] void FailOverflow() { Fail(ErrorClass::kLimit, "an integer of more than 128 bits"); }
[[noreturn]] void FailOperands(Arithmetic op, const Value& a, const Value& b) {
  FailType("unsupported operand type(s) for {}: '{}' and '{}'", Symbol(op), TypeName(a), TypeName(b));
}

Int PowInt(Int base, Int exponent) {
  Int result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) FailOverflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) FailOverflow();
  }
  return result;
}

double FloorMod(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  return r == 0 ? std::copysign(0.0, b) : r;
}

double FloorDivide(double a, double b) {
  const double mod = std::fmod(a, b);
  double quotient = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  double floor = std::floor(quotient);
  if (quotient - floor > 0.5) floor += 1;
  return floor;
}

Value ApplyIntegers(Arithmetic op, Int a, Int b) {
  Int out = 0;
  switch (op) {
    case Arithmetic::kAdd:
      if (__builtin_add_overflow(a, b, &out)) FailOverflow();
      return Value::Integer(out);
    case Arithmetic::kSub:
      if (__builtin_sub_overflow(a, b, &out)) FailOverflow();
      return Value::Integer(out);
    case Arithmetic::kMul:
      if (__builtin_mul_overflow(a, b, &out)) FailOverflow();
      return Value::Integer(out);
    case Arithmetic::kDiv:
      if (b == 0) Fail(ErrorClass::kArithmetic, "division by zero");
      return Value::Float(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Arithmetic::kFloorDiv:
    case Arithmetic::kMod: {
      if (b == 0) Fail(ErrorClass::kArithmetic, "integer division or modulo by zero");
      if (b == -1) {  // the one case where the machine's division overflows
        if (op == Arithmetic::kMod) return Value::Integer(0);
        if (__builtin_sub_overflow(Int{0}, a, &out)) FailOverflow();
        return Value::Integer(out);
      }
      Int quotient = a / b;
      Int rest = a % b;
      if (rest != 0 && (rest < 0) != (b < 0)) --quotient, rest += b;
      return Value::Integer(op == Arithmetic::kMod ? rest : quotient);
    }
    case Arithmetic::kPow:
      if (b >= 0) return Value::Integer(PowInt(a, b));
      if (a == 0) Fail(ErrorClass::kArithmetic, "0.0 cannot be raised to a negative power");
      return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  return Value();
}

Value ApplyFloats(Arithmetic op, double a, double b) {
  switch (op) {
    case Arithmetic::kAdd: return Value::Float(a + b);
    case Arithmetic::kSub: return Value::Float(a - b);
    case Arithmetic::kMul: return Value::Float(a * b);
    case Arithmetic::kDiv:
      if (b == 0) Fail(ErrorClass::kArithmetic, "float division by zero");
      return Value::Float(a / b);
    case Arithmetic::kFloorDiv:
      if (b == 0) Fail(ErrorClass::kArithmetic, "float floor division by zero");
      return Value::Float(FloorDivide(a, b));
    case Arithmetic::kMod:
      if (b == 0) Fail(ErrorClass::kArithmetic, "float modulo");
      return Value::Float(FloorMod(a, b));
    case Arithmetic::kPow: {
      if (a == 0 && b < 0) Fail(ErrorClass::kArithmetic, "0.0 cannot be raised to a negative power");
      if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b)) FailValue("a complex number as a result of **");
      const double out = std::pow(a, b);
      if (std::isinf(out) && std::isfinite(a) && std::isfinite(b)) Fail(ErrorClass::kArithmetic, "(34, 'Numerical result out of range')");
      return Value::Float(out);
    }
  }
  return Value();
}

Value Concatenate(const Value& a, const Value& b, Budget& budget) {
  budget.CheckBytes(a.text().size() + b.text().size());
  if (a.IsMarkup() == b.IsMarkup()) return Value::String(a.text() + b.text(), a.IsMarkup());
  const auto escaped = [](const Value& v) { return v.IsMarkup() ? v.text() : EscapeHtml(v.text()); };
  return Value::String(escaped(a) + escaped(b), true);
}

Value Repeat(const Value& value, Int times, Budget& budget) {
  if (times < 0) times = 0;
  constexpr Int kTooMany = Int{1} << 40;
  const size_t count = static_cast<size_t>(times > kTooMany ? kTooMany : times);
  if (value.IsString()) {
    const std::string& text = value.text();
    if (!text.empty() && count > Budget::kMaxBytes) budget.CheckBytes(Budget::kMaxBytes + 1);
    budget.CheckBytes(text.size() * (text.empty() ? 0 : count));
    std::string out;
    if (!text.empty()) out.reserve(text.size() * count);
    for (size_t i = 0; i < count && !text.empty(); ++i) out += text;
    return Value::String(std::move(out), value.IsMarkup());
  }
  const auto& items = value.items();
  std::vector<Value> out;
  for (size_t i = 0; i < count && !items.empty(); ++i) {
    budget.Charge(1);
    budget.ChargeItems(items.size());
    out.insert(out.end(), items.begin(), items.end());
  }
  return value.Is(Kind::kList) ? Value::List(std::move(out)) : Value::Tuple(std::move(out));
}

}  // namespace

Value Apply(Arithmetic op, const Value& a, const Value& b, Budget& budget) {
  if (op == Arithmetic::kMod && a.IsString()) return FormatPercent(a, b, budget);
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsIntegral() && b.IsIntegral()) return ApplyIntegers(op, a.AsInt(), b.AsInt());
    return ApplyFloats(op, a.AsDouble(), b.AsDouble());
  }
  if (a.IsUndefined()) FailUndefined(a);
  if (b.IsUndefined()) FailUndefined(b);
  const auto repeatable = [](const Value& v) { return v.IsString() || v.IsSequence(); };
  if (op == Arithmetic::kMul && repeatable(a) && b.IsIntegral()) return Repeat(a, b.AsInt(), budget);
  if (op == Arithmetic::kMul && repeatable(b) && a.IsIntegral()) return Repeat(b, a.AsInt(), budget);
  if (op == Arithmetic::kMul && (repeatable(a) || repeatable(b))) {
    FailType("can't multiply sequence by non-int of type '{}'", TypeName(repeatable(a) ? b : a));
  }
  if (op == Arithmetic::kAdd && a.IsString()) {
    if (!b.IsString()) FailType("can only concatenate str (not \"{}\") to str", TypeName(b));
    return Concatenate(a, b, budget);
  }
  if (op == Arithmetic::kAdd && a.IsSequence()) {
    if (a.kind() != b.kind()) FailType("can only concatenate {} (not \"{}\") to {}", TypeName(a), TypeName(b), TypeName(a));
    budget.ChargeItems(a.items().size() + b.items().size());
    std::vector<Value> out = a.items();
    out.insert(out.end(), b.items().begin(), b.items().end());
    return a.Is(Kind::kList) ? Value::List(std::move(out)) : Value::Tuple(std::move(out));
  }
  FailOperands(op, a, b);
}

Value Negate(const Value& value) {
  if (value.IsUndefined()) FailUndefined(value);
  if (value.Is(Kind::kFloat)) return Value::Float(-value.AsDouble());
  if (!value.IsIntegral()) FailType("bad operand type for unary -: '{}'", TypeName(value));
  return ApplyIntegers(Arithmetic::kSub, 0, value.AsInt());
}

Value Plus(const Value& value) {
  if (value.IsUndefined()) FailUndefined(value);
  if (value.Is(Kind::kFloat)) return value;
  if (!value.IsIntegral()) FailType("bad operand type for unary +: '{}'", TypeName(value));
  return Value::Integer(value.AsInt());
}

}  // namespace fathom::jinja
