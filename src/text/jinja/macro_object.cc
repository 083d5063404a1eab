#include "text/jinja/macro_object.h"

#include <algorithm>

#include "text/jinja/errors.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {

std::string MacroObject::Repr() { return "<Macro " + (stmt_.kind == StmtKind::kMacro ? ReprText(stmt_.name) : "anonymous") + ">"; }

Value MacroObject::GetAttribute(std::string_view name) {
  const MacroPlan& macro = stmt_.macro;
  if (name == "name") return stmt_.kind == StmtKind::kMacro ? Value::String(stmt_.name) : Value::None();
  if (name == "arguments") {
    std::vector<Value> names;
    for (const std::string& argument : macro.names) names.push_back(Value::String(argument));
    return Value::Tuple(std::move(names));
  }
  if (name == "catch_kwargs") return Value::Bool(macro.uses_kwargs);
  if (name == "catch_varargs") return Value::Bool(macro.uses_varargs);
  if (name == "caller") return Value::Bool(macro.uses_caller);
  return Value();
}

Value MacroObject::Call(Interpreter& interpreter, const CallArgs& args) {
  return interpreter.CallMacro(stmt_, closure_, stmt_.kind == StmtKind::kMacro ? ReprText(stmt_.name) : "None", args);
}

std::vector<Value> BindMacro(const MacroPlan& macro, const std::string& name, const CallArgs& args) {
  std::vector<std::pair<std::string, Value>> keyword = args.keyword;
  const auto take = [&](const std::string& key) {
    const auto it = std::find_if(keyword.begin(), keyword.end(), [&](const auto& k) { return k.first == key; });
    if (it == keyword.end()) return Value();
    Value value = std::move(it->second);
    keyword.erase(it);
    return value;
  };
  const size_t count = macro.names.size();
  std::vector<Value> out(args.positional.begin(), args.positional.begin() + static_cast<std::ptrdiff_t>(std::min(count, args.positional.size())));
  const bool explicit_caller = std::find(macro.names.begin(), macro.names.end(), "caller") != macro.names.end();
  bool found_caller = out.size() == count && explicit_caller;
  for (size_t i = out.size(); i < count; ++i) {
    out.push_back(take(macro.names[i]));
    if (macro.names[i] == "caller") found_caller = true;
  }
  if (macro.uses_caller && !found_caller && !explicit_caller) {
    Value caller = take("caller");
    out.push_back(caller.IsMissing() || caller.IsNone() ? MakeUndefined("No caller defined") : std::move(caller));
  }
  if (macro.uses_kwargs) {
    Ref<DictObject> rest(new DictObject);
    for (auto& [key, value] : keyword) rest->Set(Value::String(key), std::move(value));
    out.push_back(Value::Of(Kind::kDict, rest.get()));
  } else if (!keyword.empty()) {
    const bool caller = std::any_of(keyword.begin(), keyword.end(), [](const auto& k) { return k.first == "caller"; });
    if (caller) FailType("macro {} was invoked with two values for the special caller argument. This is most likely a bug.", name);
    FailType("macro {} takes no keyword argument {}", name, ReprText(keyword[0].first));
  }
  if (macro.uses_varargs) {
    const size_t used = std::min(count, args.positional.size());
    out.push_back(Value::Tuple({args.positional.begin() + static_cast<std::ptrdiff_t>(used), args.positional.end()}));
  } else if (args.positional.size() > count) {
    FailType("macro {} takes not more than {} argument(s)", name, count);
  }
  return out;
}

}  // namespace fathom::jinja
