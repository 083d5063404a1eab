// Runs a template's tree. One Interpreter is one render.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

// The slots of one call of a function.
struct Environment : Object {
  std::vector<Value> slots;
  Ref<Environment> parent;
  Value& At(const VariableRef& ref);
};

class LoopObject;

class Interpreter {
 public:
  // Both must outlive the interpreter; `context` is a dict of the template's variables.
  Interpreter(const TemplateTree& tree, const DictObject& context, int64_t max_steps) : tree_(tree), context_(context), budget_(max_steps) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Throws RenderError; line() then is where.
  std::string Render();
  int line() const { return line_; }

  Budget& budget() { return budget_; }
  Value Call(const Value& callee, const CallArgs& args);
  // The text of a macro's body for these arguments.
  Value CallMacro(const Stmt& stmt, const Ref<Environment>& closure, const std::string& repr, const CallArgs& args);
  // loop(children) of a recursive loop.
  Value CallLoop(const Stmt& stmt, const Ref<Environment>& closure, const Value& iterable, int64_t depth0);
  // One item through a loop's filter: whether it stays.
  bool TestItem(const Stmt& stmt, Environment& environment, const Value& item, Value* out);
  // A namespace or an environment can be part of a cycle: they live until the render ends, and are emptied then.
  void Track(Object* object);
  Ref<Environment> MakeEnvironment(const FunctionPlan& plan, Ref<Environment> parent);
  void EnterScope(const ScopePlan& plan, Environment& environment);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  static constexpr int kMaxDepth = 1200;
  class DepthGuard;

  Flow ExecBody(const Body& body, const Ref<Environment>& env);
  Flow Exec(const Stmt& stmt, const Ref<Environment>& env);
  Flow ExecFor(const Stmt& stmt, const Ref<Environment>& env);
  Flow RunLoop(const Stmt& stmt, const Value& iterable, const Ref<Environment>& env, const Ref<Environment>& outer, int64_t depth0);
  Flow ExecIf(const Stmt& stmt, const Ref<Environment>& env);
  Flow ExecFilterBlock(const Stmt& stmt, const Ref<Environment>& env);
  Flow ExecSetBlock(const Stmt& stmt, const Ref<Environment>& env);
  Flow ExecWith(const Stmt& stmt, const Ref<Environment>& env);
  void ExecOutput(const Stmt& stmt, const Ref<Environment>& env);
  void ExecSet(const Stmt& stmt, const Ref<Environment>& env);
  void ExecCallBlock(const Stmt& stmt, const Ref<Environment>& env);
  void LeaveScope(const ScopePlan& plan, Environment& env);
  void Assign(const Expr& target, const Value& value, Environment& env);
  Value TargetValue(const Expr& target, Environment& env);
  void Write(std::string_view text);
  void WriteRaw(const Value& value);
  Value Resolve(const std::string& name);

  Value Eval(const Expr& expr, const Ref<Environment>& env);
  Value EvalItems(const Expr& expr, const Ref<Environment>& env);
  Value EvalGetItem(const Expr& expr, const Ref<Environment>& env);
  Value EvalCall(const Expr& expr, const Ref<Environment>& env, const Value* caller);
  Value EvalFilter(const Expr& expr, Value input, const Ref<Environment>& env);
  Value EvalFilterChain(const Expr& expr, const Value& input, const Ref<Environment>& env);
  Value EvalCompare(const Expr& expr, const Ref<Environment>& env);
  bool EvalCompareOne(CompareOp op, const Value& a, const Value& b);
  Value EvalLogic(const Expr& expr, const Ref<Environment>& env);
  Value EvalConcat(const Expr& expr, const Ref<Environment>& env);
  CallArgs EvalArguments(const ArgumentExprs& args, const Ref<Environment>& env);

  const TemplateTree& tree_;
  const DictObject& context_;
  Budget budget_;
  std::string* out_ = nullptr;
  int line_ = 1;
  int depth_ = 0;
  std::vector<Value> tracked_;
};

}  // namespace fathom::jinja
