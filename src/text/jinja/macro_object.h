// Macros, and the `caller` of a call block.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/interpreter.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

class MacroObject : public Object {
 public:
  MacroObject(const Stmt& stmt, Ref<Environment> closure) : stmt_(stmt), closure_(std::move(closure)) {}
  std::string TypeName() const override { return "Macro"; }
  std::string Repr() override;
  Value GetAttribute(std::string_view name) override;
  bool IsCallable() const override { return true; }
  Value Call(Interpreter& interpreter, const CallArgs& args) override;

 private:
  const Stmt& stmt_;
  Ref<Environment> closure_;
};

// Values for the slots of a macro's arguments (kMissing: not given), then of caller, kwargs and varargs as it uses them.
std::vector<Value> BindMacro(const MacroPlan& macro, const std::string& name, const CallArgs& args);

}  // namespace fathom::jinja
