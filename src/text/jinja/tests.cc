// The tests of `is`.
#include <map>

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

Value Remainder(Interpreter& interpreter, const Value& value, const Value& by) { return Apply(Arithmetic::kMod, value, by, interpreter.budget()); }

Value TestOdd(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  RefuseArguments("odd", args);
  return Value::Bool(Equal(Remainder(interpreter, value, Value::Integer(2)), Value::Integer(1)));
}
Value TestEven(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  RefuseArguments("even", args);
  return Value::Bool(Equal(Remainder(interpreter, value, Value::Integer(2)), Value::Integer(0)));
}
Value TestDivisibleBy(Interpreter& interpreter, const Value& value, const CallArgs& args) {
  return Value::Bool(Equal(Remainder(interpreter, value, Bind("divisibleby", args, {"num"}, 1)[0]), Value::Integer(0)));
}

// Tests of the value alone.
template <bool (*kTest)(const Value&)>
Value Simple(Interpreter&, const Value& value, const CallArgs& args) {
  RefuseArguments("test", args);
  return Value::Bool(kTest(value));
}

bool IsDefined(const Value& v) { return !v.IsUndefined(); }
bool IsUndefinedValue(const Value& v) { return v.IsUndefined(); }
bool IsNoneValue(const Value& v) { return v.IsNone(); }
bool IsBoolean(const Value& v) { return v.Is(Kind::kBool); }
bool IsFalse(const Value& v) { return v.Is(Kind::kBool) && !v.AsBool(); }
bool IsTrue(const Value& v) { return v.Is(Kind::kBool) && v.AsBool(); }
bool IsInteger(const Value& v) { return v.Is(Kind::kInt); }
bool IsFloat(const Value& v) { return v.Is(Kind::kFloat); }
bool IsStringValue(const Value& v) { return v.IsString(); }
bool IsMapping(const Value& v) { return v.Is(Kind::kDict); }
bool IsNumberValue(const Value& v) { return v.IsNumber(); }
bool IsSequenceValue(const Value& v) {
  return v.IsString() || v.IsSequence() || v.Is(Kind::kDict) || v.Is(Kind::kRange) || v.IsUndefined();
}
bool IsIterableValue(const Value& v) { return IsIterable(v) || TypeName(v) == "LoopContext"; }
bool IsCallableValue(const Value& v) { return v.IsUndefined() || (v.Is(Kind::kObject) && v.object()->IsCallable()); }
bool IsEscaped(const Value& v) { return v.IsMarkup(); }

bool HasCase(const Value& value, bool upper) {
  bool cased = false;
  const std::string text = Str(value);
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextCodePoint(text, &pos);
    if (upper ? IsLower(c) || IsTitle(c) : IsUpper(c) || IsTitle(c)) return false;
    cased = cased || (upper ? IsUpper(c) : IsLower(c));
  }
  return cased;
}
bool IsLowerValue(const Value& v) { return HasCase(v, false); }
bool IsUpperValue(const Value& v) { return HasCase(v, true); }
bool IsFilterName(const Value& v) { return v.IsString() && FindFilter(v.text()) != nullptr; }
bool IsTestName(const Value& v) { return v.IsString() && FindTest(v.text()) != nullptr; }

Value TestSameAs(Interpreter&, const Value& value, const CallArgs& args) {
  return Value::Bool(Same(value, Bind("sameas", args, {"other"}, 1)[0]));
}
Value TestIn(Interpreter&, const Value& value, const CallArgs& args) {
  return Value::Bool(Contains(Bind("in", args, {"seq"}, 1)[0], value));
}
Value TestEqual(Interpreter&, const Value& value, const CallArgs& args) { return Value::Bool(Equal(value, Bind("eq", args, {"b"}, 1)[0])); }
Value TestNotEqual(Interpreter&, const Value& value, const CallArgs& args) { return Value::Bool(!Equal(value, Bind("ne", args, {"b"}, 1)[0])); }
template <Order kOrder>
Value TestOrder(Interpreter&, const Value& value, const CallArgs& args) {
  return Value::Bool(Compare(kOrder, value, Bind("compare", args, {"b"}, 1)[0]));
}

}  // namespace

FilterFunction FindTest(const std::string& name) {
  static const std::map<std::string, FilterFunction, std::less<>> kTests = {
      {"odd", TestOdd}, {"even", TestEven}, {"divisibleby", TestDivisibleBy},
      {"defined", Simple<IsDefined>}, {"undefined", Simple<IsUndefinedValue>}, {"none", Simple<IsNoneValue>},
      {"boolean", Simple<IsBoolean>}, {"false", Simple<IsFalse>}, {"true", Simple<IsTrue>}, {"integer", Simple<IsInteger>},
      {"float", Simple<IsFloat>}, {"string", Simple<IsStringValue>}, {"mapping", Simple<IsMapping>}, {"number", Simple<IsNumberValue>},
      {"sequence", Simple<IsSequenceValue>}, {"iterable", Simple<IsIterableValue>}, {"callable", Simple<IsCallableValue>},
      {"escaped", Simple<IsEscaped>}, {"lower", Simple<IsLowerValue>}, {"upper", Simple<IsUpperValue>},
      {"filter", Simple<IsFilterName>}, {"test", Simple<IsTestName>}, {"sameas", TestSameAs}, {"in", TestIn},
      {"==", TestEqual}, {"eq", TestEqual}, {"equalto", TestEqual}, {"!=", TestNotEqual}, {"ne", TestNotEqual},
      {">", TestOrder<Order::kGreater>}, {"gt", TestOrder<Order::kGreater>}, {"greaterthan", TestOrder<Order::kGreater>},
      {">=", TestOrder<Order::kGreaterEqual>}, {"ge", TestOrder<Order::kGreaterEqual>},
      {"<", TestOrder<Order::kLess>}, {"lt", TestOrder<Order::kLess>}, {"lessthan", TestOrder<Order::kLess>},
      {"<=", TestOrder<Order::kLessEqual>}, {"le", TestOrder<Order::kLessEqual>}};
  const auto it = kTests.find(name);
  return it == kTests.end() ? nullptr : it->second;
}

}  // namespace fathom::jinja
