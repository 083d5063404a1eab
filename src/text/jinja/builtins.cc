// Functions as values, and the binding of arguments.
#include "text/jinja/builtins.h"

#include <algorithm>
#include <limits>

#include "text/jinja/errors.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {
namespace {

class FunctionObject : public Object {
 public:
  FunctionObject(std::string name, Value self, FilterFunction function) : name_(std::move(name)), self_(std::move(self)), function_(function) {}
  std::string TypeName() const override { return "builtin_function_or_method"; }
  std::string Repr() override { return "<built-in function " + name_ + ">"; }
  bool IsCallable() const override { return true; }
  Value Call(Interpreter& interpreter, const CallArgs& args) override {
    interpreter.budget().ChargeValue(self_);
    return function_(interpreter, self_, args);
  }

 private:
  std::string name_;
  Value self_;
  FilterFunction function_;
};

}  // namespace

Value MakeFunction(std::string name, Value self, FilterFunction function) {
  return Value::Of(new FunctionObject(std::move(name), std::move(self), function));
}

std::vector<Value> Bind(const char* function, const CallArgs& args, std::initializer_list<const char*> names, size_t required) {
  if (args.positional.size() > names.size()) {
    FailType("{}() takes {} arguments but {} were given", function, names.size(), args.positional.size());
  }
  std::vector<Value> out(args.positional.begin(), args.positional.end());
  out.resize(names.size());
  for (const auto& argument : args.keyword) {
    const std::string& name = argument.first;  // not a binding: clang 14 cannot capture one
    const auto at = std::find_if(names.begin(), names.end(), [&](const char* n) { return name == n; });
    if (at == names.end()) FailType("{}() got an unexpected keyword argument {}", function, ReprText(name));
    Value& slot = out[static_cast<size_t>(at - names.begin())];
    if (!slot.IsMissing()) FailType("{}() got multiple values for argument {}", function, ReprText(name));
    slot = argument.second;
  }
  for (size_t i = 0; i < required; ++i) {
    if (out[i].IsMissing()) FailType("{}() missing a required argument: {}", function, ReprText(*(names.begin() + static_cast<std::ptrdiff_t>(i))));
  }
  return out;
}

void RefuseArguments(const char* function, const CallArgs& args) { Bind(function, args, {}, 0); }

int64_t IntegerArgument(const Value& value) {
  if (value.IsUndefined()) FailUndefined(value);
  if (!value.IsIntegral()) FailType("'{}' object cannot be interpreted as an integer", TypeName(value));
  constexpr Int kLow = std::numeric_limits<int64_t>::min() / 4;
  constexpr Int kHigh = std::numeric_limits<int64_t>::max() / 4;
  return static_cast<int64_t>(std::clamp(value.AsInt(), kLow, kHigh));
}

const std::string& TextArgument(const char* function, const Value& value) {
  if (!value.IsString()) FailType("{}() argument must be str, not {}", function, TypeName(value));
  return value.text();
}

}  // namespace fathom::jinja
