// Statements. Expressions are in evaluate.cc.
#include "text/jinja/interpreter.h"

#include "text/jinja/builtins.h"
#include "text/jinja/errors.h"
#include "text/jinja/interpreter_guards.h"
#include "text/jinja/loop_object.h"
#include "text/jinja/macro_object.h"
#include "text/jinja/namespace_object.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {
namespace {

// What a loop with an `if` iterates over: a generator with slots of its own.
struct LoopFilter : IteratorObject {
  Interpreter* interpreter = nullptr;
  const Stmt* stmt = nullptr;
  Ref<Environment> environment;
  Value source;
  bool Next(Value* item) override {
    for (Value candidate; source.iterator().Next(&candidate);) {
      if (interpreter->TestItem(*stmt, *environment, candidate, item)) return true;
    }
    return false;
  }
};

}  // namespace

Value& Environment::At(const VariableRef& ref) {
  Environment* env = this;
  for (int i = 0; i < ref.hops; ++i) env = env->parent.get();
  return env->slots[static_cast<size_t>(ref.slot)];
}

Interpreter::~Interpreter() {
  for (const Value& value : tracked_) {
    if (auto* env = dynamic_cast<Environment*>(value.object())) {
      env->slots.clear();
    } else if (auto* ns = AsNamespace(value)) {
      ns->attributes.entries.clear();
      ns->attributes.index.clear();
    }
  }
}

void Interpreter::Track(Object* object) {
  budget_.Charge(20);
  tracked_.push_back(Value::Of(object));
}

Ref<Environment> Interpreter::MakeEnvironment(const FunctionPlan& plan, Ref<Environment> parent) {
  Ref<Environment> env(new Environment);
  env->slots.resize(static_cast<size_t>(plan.num_slots));
  env->parent = std::move(parent);
  budget_.ChargeItems(env->slots.size());
  Track(env.get());
  return env;
}

std::string Interpreter::Render() {
  std::string out;
  out_ = &out;
  const Ref<Environment> env = MakeEnvironment(tree_.function, Ref<Environment>());
  EnterScope(tree_.scope, *env);
  ExecBody(tree_.body, env);
  return out;
}

Value Interpreter::Resolve(const std::string& name) {
  if (const Value* value = context_.Find(std::string_view(name))) return *value;
  return FindGlobal(name);
}

void Interpreter::EnterScope(const ScopePlan& plan, Environment& env) {
  for (const SlotLoad& load : plan.loads) {
    Value& slot = env.slots[static_cast<size_t>(load.slot)];
    switch (load.action) {
      case SlotLoad::Action::kParameter: break;
      case SlotLoad::Action::kResolve: slot = Resolve(load.name); break;
      case SlotLoad::Action::kAlias: slot = Value(env.At(load.alias)); break;
      case SlotLoad::Action::kUndefined: slot = Value(); break;
    }
  }
}

void Interpreter::LeaveScope(const ScopePlan& plan, Environment& env) {
  for (const SlotLoad& load : plan.loads) env.slots[static_cast<size_t>(load.slot)] = Value();
}

void Interpreter::Write(std::string_view text) {
  budget_.ChargeBytes(text.size());
  if (out_->size() + text.size() > Budget::kMaxBytes) budget_.CheckBytes(Budget::kMaxBytes + 1);
  out_->append(text);
}

void Interpreter::WriteRaw(const Value& value) {
  if (!value.IsString()) FailType("sequence item: expected str instance, {} found", TypeName(value));
  Write(value.text());
}

Interpreter::Flow Interpreter::ExecBody(const Body& body, const Ref<Environment>& env) {
  for (const auto& stmt : body) {
    const Flow flow = Exec(*stmt, env);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Exec(const Stmt& stmt, const Ref<Environment>& env) {
  const InterpreterDepth depth(&depth_, kMaxDepth);
  budget_.Charge(1);
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kOutput: ExecOutput(stmt, env); break;
    case StmtKind::kFor: return ExecFor(stmt, env);
    case StmtKind::kIf: return ExecIf(stmt, env);
    case StmtKind::kMacro: env->At(stmt.ref) = Value::Of(new MacroObject(stmt, env)); break;
    case StmtKind::kCallBlock: ExecCallBlock(stmt, env); break;
    case StmtKind::kFilterBlock: return ExecFilterBlock(stmt, env);
    case StmtKind::kSet: ExecSet(stmt, env); break;
    case StmtKind::kSetBlock: return ExecSetBlock(stmt, env);
    case StmtKind::kWith: return ExecWith(stmt, env);
    case StmtKind::kGeneration: WriteRaw(CallMacro(stmt, env, "<Macro anonymous>", {})); break;
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::ExecOutput(const Stmt& stmt, const Ref<Environment>& env) {
  for (const ExprPtr& expr : stmt.exprs) {
    line_ = expr->line;
    const Value value = Eval(*expr, env);
    if (value.IsString()) Write(value.text());
    else Write(Str(value));
  }
}

Interpreter::Flow Interpreter::ExecIf(const Stmt& stmt, const Ref<Environment>& env) {
  if (Truth(Eval(*stmt.exprs[0], env))) return ExecBody(stmt.body, env);
  for (const auto& elif : stmt.elifs) {
    line_ = elif->line;
    if (Truth(Eval(*elif->exprs[0], env))) return ExecBody(elif->body, env);
  }
  return ExecBody(stmt.else_body, env);
}

Interpreter::Flow Interpreter::ExecFor(const Stmt& stmt, const Ref<Environment>& env) {
  const Value iterable = Eval(*stmt.iterable, env);
  if (!stmt.recursive) return RunLoop(stmt, iterable, env, env, 0);
  WriteRaw(CallLoop(stmt, env, iterable, 0));
  return Flow::kNext;
}

Value Interpreter::CallLoop(const Stmt& stmt, const Ref<Environment>& closure, const Value& iterable, int64_t depth0) {
  const InterpreterDepth depth(&depth_, kMaxDepth);
  const RestoreOnExit<int> line(&line_);
  const Ref<Environment> env = MakeEnvironment(stmt.loop_function, closure);
  std::string text;
  {
    const RestoreOnExit<std::string*> out(&out_, &text);
    RunLoop(stmt, iterable, env, closure, depth0);
  }
  return Value::String(std::move(text));
}

Interpreter::Flow Interpreter::RunLoop(const Stmt& stmt, const Value& iterable, const Ref<Environment>& env, const Ref<Environment>& outer,
                                       int64_t depth0) {
  Value source = iterable;
  if (stmt.value) {
    auto* filter = new LoopFilter;
    source = Value::Of(Kind::kIterator, filter);
    filter->interpreter = this;
    filter->stmt = &stmt;
    filter->source = Iterate(iterable);
    filter->environment = MakeEnvironment(stmt.test_function, outer);
    EnterScope(stmt.test_scope, *filter->environment);
  }
  env->slots[static_cast<size_t>(stmt.loop_slot)] = Value();
  const Ref<LoopObject> loop(new LoopObject(source, stmt.recursive ? &stmt : nullptr, stmt.recursive ? outer : Ref<Environment>(), depth0));
  bool none_completed = true;
  for (Value item; line_ = stmt.line, loop->Next(&item);) {
    budget_.Charge(1);
    Assign(*stmt.targets[0], item, *env);
    env->slots[static_cast<size_t>(stmt.loop_slot)] = Value::Of(loop.get());
    EnterScope(stmt.scope, *env);
    const Flow flow = ExecBody(stmt.body, env);
    if (flow == Flow::kBreak) break;
    if (flow == Flow::kNext) none_completed = false;
  }
  LeaveScope(stmt.scope, *env);
  if (stmt.else_body.empty() || !none_completed) return Flow::kNext;
  EnterScope(stmt.else_scope, *env);
  const Flow flow = ExecBody(stmt.else_body, env);
  LeaveScope(stmt.else_scope, *env);
  return flow;
}

bool Interpreter::TestItem(const Stmt& stmt, Environment& environment, const Value& item, Value* out) {
  budget_.Charge(1);
  Assign(*stmt.test_target, item, environment);
  if (!Truth(Eval(*stmt.value, Ref<Environment>(&environment)))) return false;
  *out = TargetValue(*stmt.test_target, environment);
  return true;
}

void Interpreter::Assign(const Expr& target, const Value& value, Environment& env) {
  if (target.kind == ExprKind::kName) {
    env.At(target.ref) = value;
    return;
  }
  if (target.kind == ExprKind::kNamespaceRef) {
    const Value key = Value::String(target.attribute);
    AsNamespace(env.At(target.ref))->attributes.Set(key, value);
    return;
  }
  if (!IsIterable(value)) FailType("cannot unpack non-iterable {} object", TypeName(value));
  const Value iterator = Iterate(value);
  std::vector<Value> items;
  for (Value item; items.size() <= target.items.size() && iterator.iterator().Next(&item);) items.push_back(std::move(item));
  if (items.size() < target.items.size()) FailValue("not enough values to unpack (expected {}, got {})", target.items.size(), items.size());
  if (items.size() > target.items.size()) FailValue("too many values to unpack (expected {})", target.items.size());
  for (size_t i = 0; i < items.size(); ++i) Assign(*target.items[i], items[i], env);
}

Value Interpreter::TargetValue(const Expr& target, Environment& env) {
  if (target.kind != ExprKind::kTuple) return env.At(target.ref);
  std::vector<Value> items;
  for (const ExprPtr& item : target.items) items.push_back(TargetValue(*item, env));
  return Value::Tuple(std::move(items));
}

void Interpreter::ExecSet(const Stmt& stmt, const Ref<Environment>& env) {
  for (const VariableRef& ref : stmt.namespace_checks) {
    if (AsNamespace(env->At(ref)) == nullptr) Fail(ErrorClass::kTemplate, "cannot assign attribute on non-namespace object");
  }
  const Value value = Eval(*stmt.value, env);
  line_ = stmt.line;
  Assign(*stmt.targets[0], value, *env);
}

Interpreter::Flow Interpreter::ExecSetBlock(const Stmt& stmt, const Ref<Environment>& env) {
  EnterScope(stmt.scope, *env);
  std::string text;
  {
    const RestoreOnExit<std::string*> out(&out_, &text);
    const Flow flow = ExecBody(stmt.body, env);
    if (flow != Flow::kNext) return flow;
  }
  line_ = stmt.line;
  Value value = Value::String(std::move(text));
  if (stmt.value) value = EvalFilterChain(*stmt.value, value, env);
  if (stmt.targets[0]->kind == ExprKind::kNamespaceRef && AsNamespace(env->At(stmt.targets[0]->ref)) == nullptr) {
    const Value& target = env->At(stmt.targets[0]->ref);
    if (target.IsMissing() || target.IsUndefined()) FailType("'Undefined' object does not support item assignment");
    Fail(ErrorClass::kTemplate, "cannot assign attribute on non-namespace object");
  }
  Assign(*stmt.targets[0], value, *env);
  LeaveScope(stmt.scope, *env);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecFilterBlock(const Stmt& stmt, const Ref<Environment>& env) {
  EnterScope(stmt.scope, *env);
  std::string text;
  {
    const RestoreOnExit<std::string*> out(&out_, &text);
    const Flow flow = ExecBody(stmt.body, env);
    if (flow != Flow::kNext) return flow;
  }
  line_ = stmt.line;
  WriteRaw(EvalFilterChain(*stmt.value, Value::String(std::move(text)), env));
  LeaveScope(stmt.scope, *env);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecWith(const Stmt& stmt, const Ref<Environment>& env) {
  EnterScope(stmt.scope, *env);
  for (size_t i = 0; i < stmt.targets.size(); ++i) Assign(*stmt.targets[i], Eval(*stmt.exprs[i], env), *env);
  const Flow flow = ExecBody(stmt.body, env);
  if (flow == Flow::kNext) LeaveScope(stmt.scope, *env);
  return flow;
}

void Interpreter::ExecCallBlock(const Stmt& stmt, const Ref<Environment>& env) {
  const Value caller = Value::Of(new MacroObject(stmt, env));
  WriteRaw(EvalCall(*stmt.value, env, &caller));
}

Value Interpreter::CallMacro(const Stmt& stmt, const Ref<Environment>& closure, const std::string& repr, const CallArgs& args) {
  const InterpreterDepth depth(&depth_, kMaxDepth);
  const RestoreOnExit<int> line(&line_);
  const MacroPlan& macro = stmt.macro;
  const Ref<Environment> env = MakeEnvironment(macro.function, closure);
  const std::vector<Value> values = BindMacro(macro, repr, args);
  line_ = stmt.line;
  for (size_t i = 0; i < values.size(); ++i) env->slots[static_cast<size_t>(macro.slots[i])] = values[i];
  EnterScope(macro.scope, *env);
  const size_t num_plain = macro.names.size() - macro.defaults.size();
  for (size_t i = 0; i < macro.names.size(); ++i) {
    Value& slot = env->slots[static_cast<size_t>(macro.slots[i])];
    if (!slot.IsMissing()) continue;
    if (i < num_plain) {
      slot = MakeUndefined("parameter " + ReprText(macro.names[i]) + " was not provided");
    } else {
      Value value = Eval(*macro.defaults[i - num_plain], env);
      env->slots[static_cast<size_t>(macro.slots[i])] = std::move(value);
    }
  }
  std::string text;
  {
    const RestoreOnExit<std::string*> out(&out_, &text);
    ExecBody(stmt.body, env);
  }
  // Nothing but the list of tracked objects and this function holds the slots: give them back at once.
  if (env->refs() == 2 && tracked_.back().object() == env.get()) tracked_.pop_back();
  return Value::String(std::move(text));
}

}  // namespace fathom::jinja
