// The methods of dict, list, tuple, range, int and float that change nothing.
#include <algorithm>
#include <cmath>
#include <map>

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {
namespace {

template <ViewObject::What kWhat>
Value ViewMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("dict view", args);
  auto* view = new ViewObject;
  view->what = kWhat;
  view->dict = Ref<DictObject>(static_cast<DictObject*>(self.object()));
  return Value::Of(Kind::kView, view);
}

Value GetMethod(Interpreter&, const Value& self, const CallArgs& args) {
  if (!args.keyword.empty()) FailType("dict.get() takes no keyword arguments");
  const std::vector<Value> bound = Bind("get", args, {"key", "default"}, 1);
  if (const Value* found = self.dict().Find(bound[0])) return *found;
  return bound[1].IsMissing() ? Value::None() : bound[1];
}

Value CopyMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("copy", args);
  return self.Is(Kind::kList) ? Value::List(self.items()) : self;
}

Value CountMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  const Value item = Bind("count", args, {"value"}, 1)[0];
  Int count = 0;
  for (const Value& other : Collect(self, interpreter.budget())) if (Same(item, other) || Equal(item, other)) ++count;
  return Value::Integer(count);
}

Value IndexMethod(Interpreter& interpreter, const Value& self, const CallArgs& args) {
  const std::vector<Value> bound = Bind("index", args, {"value", "start", "stop"}, 1);
  const std::vector<Value> items = Collect(self, interpreter.budget());
  const auto size = static_cast<int64_t>(items.size());
  const auto resolve = [&](const Value& v, int64_t fallback) {
    if (v.IsMissing()) return fallback;
    const int64_t i = IntegerArgument(v);
    return i < 0 ? std::max<int64_t>(0, i + size) : i;
  };
  const int64_t stop = std::min(resolve(bound[2], size), size);
  for (int64_t i = resolve(bound[1], 0); i < stop; ++i) {
    const Value& item = items[static_cast<size_t>(i)];
    if (Same(item, bound[0]) || Equal(item, bound[0])) return Value::Integer(i);
  }
  if (self.Is(Kind::kTuple)) FailValue("tuple.index(x): x not in tuple");
  FailValue("{} is not in {}", Repr(bound[0]), TypeName(self));
}

Value BitLengthMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("bit_length", args);
  Int bits = 0;
  auto rest = static_cast<unsigned __int128>(self.AsInt() < 0 ? -self.AsInt() : self.AsInt());
  for (; rest > 0; rest >>= 1) ++bits;
  return Value::Integer(bits);
}

Value IsIntegerMethod(Interpreter&, const Value& self, const CallArgs& args) {
  RefuseArguments("is_integer", args);
  const double value = self.AsDouble();
  return Value::Bool(std::isfinite(value) && value == std::floor(value));
}

}  // namespace

FilterFunction FindDictMethod(std::string_view name) {
  if (name == "keys") return ViewMethod<ViewObject::What::kKeys>;
  if (name == "values") return ViewMethod<ViewObject::What::kValues>;
  if (name == "items") return ViewMethod<ViewObject::What::kItems>;
  if (name == "get") return GetMethod;
  return name == "copy" ? CopyMethod : nullptr;
}

FilterFunction FindSequenceMethod(std::string_view name) {
  if (name == "count") return CountMethod;
  return name == "index" ? IndexMethod : nullptr;
}

FilterFunction FindIntegerMethod(std::string_view name) { return name == "bit_length" ? BitLengthMethod : nullptr; }
FilterFunction FindFloatMethod(std::string_view name) { return name == "is_integer" ? IsIntegerMethod : nullptr; }

FilterFunction FindMethod(const Value& self, std::string_view name) {
  switch (self.kind()) {
    case Kind::kString: return FindStringMethod(name);
    case Kind::kDict: return FindDictMethod(name);
    case Kind::kList: return name == "copy" ? CopyMethod : FindSequenceMethod(name);
    case Kind::kTuple: case Kind::kRange: return FindSequenceMethod(name);
    case Kind::kInt: case Kind::kBool: return FindIntegerMethod(name);
    case Kind::kFloat: return FindFloatMethod(name);
    default: return nullptr;
  }
}

}  // namespace fathom::jinja
