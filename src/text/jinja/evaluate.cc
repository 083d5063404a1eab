// Expressions of the interpreter.
#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/interpreter_guards.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {

Value Interpreter::Eval(const Expr& expr, const Ref<Environment>& env) {
  if (expr.kind == ExprKind::kConst) return expr.constant;
  const InterpreterDepth depth(&depth_, kMaxDepth);
  budget_.Charge(1);
  switch (expr.kind) {
    case ExprKind::kName: {
      const Value& value = env->At(expr.ref);
      return value.IsMissing() ? MakeUndefined(ReprText(expr.name) + " is undefined") : value;
    }
    case ExprKind::kTuple: case ExprKind::kList: case ExprKind::kDict: return EvalItems(expr, env);
    case ExprKind::kGetAttr: return GetAttribute(Eval(*expr.items[0], env), expr.name);
    case ExprKind::kGetItem: return EvalGetItem(expr, env);
    case ExprKind::kCall: return EvalCall(expr, env, nullptr);
    case ExprKind::kFilter: return EvalFilter(expr, Eval(*expr.items[0], env), env);
    case ExprKind::kTest: return EvalFilter(expr, Eval(*expr.items[0], env), env);
    case ExprKind::kCondition: case ExprKind::kOr: case ExprKind::kAnd: return EvalLogic(expr, env);
    case ExprKind::kNot: return Value::Bool(!Truth(Eval(*expr.items[0], env)));
    case ExprKind::kCompare: return EvalCompare(expr, env);
    case ExprKind::kConcat: return EvalConcat(expr, env);
    case ExprKind::kArithmetic: {
      const Value left = Eval(*expr.items[0], env);
      return Apply(expr.arithmetic, left, Eval(*expr.items[1], env), budget_);
    }
    case ExprKind::kNegate: return Negate(Eval(*expr.items[0], env));
    case ExprKind::kPlus: return Plus(Eval(*expr.items[0], env));
    case ExprKind::kConst: case ExprKind::kNamespaceRef: case ExprKind::kSlice: break;
  }
  return expr.constant;
}

Value Interpreter::EvalItems(const Expr& expr, const Ref<Environment>& env) {
  if (expr.kind == ExprKind::kDict) {
    Ref<DictObject> dict(new DictObject);
    for (size_t i = 0; i + 1 < expr.items.size(); i += 2) {
      const Value key = Eval(*expr.items[i], env);
      dict->Set(key, Eval(*expr.items[i + 1], env));
    }
    return Value::Of(Kind::kDict, dict.get());
  }
  std::vector<Value> items;
  items.reserve(expr.items.size());
  for (const ExprPtr& item : expr.items) items.push_back(Eval(*item, env));
  return expr.kind == ExprKind::kList ? Value::List(std::move(items)) : Value::Tuple(std::move(items));
}

Value Interpreter::EvalGetItem(const Expr& expr, const Ref<Environment>& env) {
  const Value object = Eval(*expr.items[0], env);
  const Expr& index = *expr.items[1];
  if (index.kind != ExprKind::kSlice) return GetItem(object, Eval(index, env));
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) if (index.items[i]) bounds[i] = Eval(*index.items[i], env);
  budget_.ChargeValue(object);
  return Slice(object, bounds[0], bounds[1], bounds[2]);
}

CallArgs Interpreter::EvalArguments(const ArgumentExprs& args, const Ref<Environment>& env) {
  CallArgs out;
  for (const ExprPtr& e : args.positional) out.positional.push_back(Eval(*e, env));
  if (args.star) {
    for (Value& item : Collect(Eval(*args.star, env), budget_)) out.positional.push_back(std::move(item));
  }
  for (const auto& [name, e] : args.keyword) out.keyword.emplace_back(name, Eval(*e, env));
  if (args.double_star) {
    const Value more = Eval(*args.double_star, env);
    if (!more.Is(Kind::kDict)) FailType("argument after ** must be a mapping, not {}", TypeName(more));
    for (const auto& [key, value] : more.dict().entries) {
      if (!key.IsString()) FailType("keywords must be strings");
      for (const auto& [other, given] : out.keyword) {
        if (other == key.text()) FailType("got multiple values for keyword argument '{}'", other);
      }
      out.keyword.emplace_back(key.text(), value);
    }
  }
  return out;
}

Value Interpreter::EvalCall(const Expr& expr, const Ref<Environment>& env, const Value* caller) {
  const Value callee = Eval(*expr.items[0], env);
  CallArgs args = EvalArguments(expr.args, env);
  if (caller != nullptr) {
    for (const auto& [name, value] : args.keyword) if (name == "caller") FailType("got multiple values for keyword argument 'caller'");
    args.keyword.emplace_back("caller", *caller);
  }
  return Call(callee, args);
}

Value Interpreter::Call(const Value& callee, const CallArgs& args) {
  if (callee.IsUndefined()) FailUndefined(callee);
  if (!callee.Is(Kind::kObject) || !callee.object()->IsCallable()) FailType("'{}' object is not callable", TypeName(callee));
  return callee.object()->Call(*this, args);
}

Value Interpreter::EvalFilter(const Expr& expr, Value input, const Ref<Environment>& env) {
  const CallArgs args = EvalArguments(expr.args, env);
  if (expr.function == nullptr) {
    Fail(ErrorClass::kTemplate, "No {} named {} found.", expr.kind == ExprKind::kFilter ? "filter" : "test", ReprText(expr.name));
  }
  budget_.ChargeValue(input);
  return expr.function(*this, input, args);
}

Value Interpreter::EvalFilterChain(const Expr& expr, const Value& input, const Ref<Environment>& env) {
  return EvalFilter(expr, expr.items[0] ? EvalFilterChain(*expr.items[0], input, env) : input, env);
}

bool Interpreter::EvalCompareOne(CompareOp op, const Value& a, const Value& b) {
  budget_.ChargeValue(a);
  budget_.ChargeValue(b);
  switch (op) {
    case CompareOp::kEqual: return Equal(a, b);
    case CompareOp::kNotEqual: return !Equal(a, b);
    case CompareOp::kLess: return Compare(Order::kLess, a, b);
    case CompareOp::kLessEqual: return Compare(Order::kLessEqual, a, b);
    case CompareOp::kGreater: return Compare(Order::kGreater, a, b);
    case CompareOp::kGreaterEqual: return Compare(Order::kGreaterEqual, a, b);
    case CompareOp::kIn: return Contains(b, a);
    case CompareOp::kNotIn: return !Contains(b, a);
  }
  return false;
}

Value Interpreter::EvalCompare(const Expr& expr, const Ref<Environment>& env) {
  Value left = Eval(*expr.items[0], env);
  for (size_t i = 0; i < expr.compares.size(); ++i) {
    Value right = Eval(*expr.items[i + 1], env);
    if (!EvalCompareOne(expr.compares[i], left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value Interpreter::EvalLogic(const Expr& expr, const Ref<Environment>& env) {
  Value first = Eval(*expr.items[0], env);
  if (expr.kind == ExprKind::kOr) return Truth(first) ? first : Eval(*expr.items[1], env);
  if (expr.kind == ExprKind::kAnd) return Truth(first) ? Eval(*expr.items[1], env) : first;
  if (Truth(first)) return Eval(*expr.items[1], env);
  if (expr.items[2]) return Eval(*expr.items[2], env);
  return MakeUndefined(fmt::format("the inline if-expression on line {} evaluated to false and no else section was defined.", expr.line));
}

Value Interpreter::EvalConcat(const Expr& expr, const Ref<Environment>& env) {
  std::vector<Value> items;
  for (const ExprPtr& item : expr.items) items.push_back(Eval(*item, env));
  std::string text;
  for (const Value& item : items) {
    text += Str(item);
    if (text.size() > Budget::kMaxBytes) break;
  }
  budget_.CheckBytes(text.size());
  return Value::String(std::move(text));
}

}  // namespace fathom::jinja
