#include "text/jinja/scopes.h"

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/lexer.h"
#include "text/jinja/symbols.h"

namespace fathom::jinja {
namespace {

// Where the resolver stands: the scope, and whether an unknown filter is an error already.
struct Frame {
  const Symbols* symbols = nullptr;
  FunctionScope* function = nullptr;
  bool soft = false;     // inside an `if` or `a if b else c`
  bool in_loop = false;  // of the same function

  Frame Soft() const {
    Frame out = *this;
    out.soft = true;
    return out;
  }
  Frame Inner(const Symbols& inner) const { return {&inner, inner.function(), false, in_loop}; }
};

class Resolver {
 public:
  void Template(TemplateTree* tree) {
    FunctionScope function{&tree->function, nullptr, {}};
    Symbols symbols(nullptr, &function);
    symbols.VisitBody(tree->body);
    Visit(tree->body, {&symbols, &function, false, false});
    tree->scope = symbols.Plan();
  }

 private:
  void Visit(Body& body, const Frame& frame) {
    for (auto& stmt : body) VisitStmt(*stmt, frame);
  }

  void VisitStmt(Stmt& stmt, const Frame& frame) {
    switch (stmt.kind) {
      case StmtKind::kOutput:
        for (ExprPtr& e : stmt.exprs) VisitExpr(e.get(), frame);
        return;
      case StmtKind::kFor: VisitFor(stmt, frame); return;
      case StmtKind::kIf: VisitIf(stmt, frame); return;
      case StmtKind::kMacro:
        VisitMacro(stmt, frame);
        stmt.ref = frame.symbols->Find(stmt.name, frame.function);
        return;
      case StmtKind::kCallBlock:
        VisitMacro(stmt, frame);
        VisitExpr(stmt.value.get(), frame);
        return;
      case StmtKind::kGeneration: VisitMacro(stmt, frame); return;
      case StmtKind::kFilterBlock: {
        Symbols symbols(frame.symbols, frame.function);
        symbols.VisitBody(stmt.body);
        symbols.VisitExpr(stmt.value.get());
        Visit(stmt.body, frame.Inner(symbols));
        VisitExpr(stmt.value.get(), frame.Inner(symbols));
        stmt.scope = symbols.Plan();
        return;
      }
      case StmtKind::kSet:
        VisitTarget(*stmt.targets[0], frame);
        CollectNamespaces(*stmt.targets[0], &stmt);
        VisitExpr(stmt.value.get(), frame);
        return;
      case StmtKind::kSetBlock: {
        Symbols symbols(frame.symbols, frame.function);
        symbols.VisitBody(stmt.body);
        if (stmt.value) symbols.VisitExpr(stmt.value.get());
        Visit(stmt.body, frame.Inner(symbols));
        VisitTarget(*stmt.targets[0], frame);
        VisitExpr(stmt.value.get(), frame.Inner(symbols));
        stmt.scope = symbols.Plan();
        return;
      }
      case StmtKind::kWith: {
        Symbols symbols(frame.symbols, frame.function);
        for (ExprPtr& target : stmt.targets) symbols.VisitTarget(*target, true);
        symbols.VisitBody(stmt.body);
        for (ExprPtr& target : stmt.targets) VisitTarget(*target, frame.Inner(symbols));
        for (ExprPtr& e : stmt.exprs) VisitExpr(e.get(), frame);
        Visit(stmt.body, frame.Inner(symbols));
        stmt.scope = symbols.Plan();
        return;
      }
      case StmtKind::kBreak:
      case StmtKind::kContinue:
        if (!frame.in_loop) throw SyntaxError(stmt.line, stmt.kind == StmtKind::kBreak ? "'break' outside loop" : "'continue' not properly in loop");
        return;
    }
  }

  void VisitIf(Stmt& stmt, const Frame& frame) {
    const Frame soft = frame.Soft();
    VisitExpr(stmt.exprs[0].get(), soft);
    Visit(stmt.body, soft);
    for (auto& elif : stmt.elifs) {
      VisitExpr(elif->exprs[0].get(), soft);
      Visit(elif->body, soft);
    }
    Visit(stmt.else_body, soft);
  }

  void VisitFor(Stmt& stmt, const Frame& frame) {
    RefuseLoopTarget(stmt);
    FunctionScope own{&stmt.loop_function, frame.function, {}};
    FunctionScope* function = stmt.recursive ? &own : frame.function;
    Symbols loop(frame.symbols, function);
    loop.DeclareParameter("loop");
    loop.VisitTarget(*stmt.targets[0], true);
    loop.VisitBody(stmt.body);
    Symbols other(frame.symbols, function);
    other.VisitBody(stmt.else_body);

    VisitExpr(stmt.iterable.get(), frame);
    if (stmt.value) {
      FunctionScope filter{&stmt.test_function, frame.function, {}};
      Symbols test(frame.symbols, &filter);
      test.VisitTarget(*stmt.test_target, true);
      test.VisitExpr(stmt.value.get());
      const Frame inner{&test, &filter, false, false};
      VisitTarget(*stmt.test_target, inner);
      VisitExpr(stmt.value.get(), inner);
      stmt.test_scope = test.Plan();
    }
    stmt.loop_slot = loop.OwnSlot("loop");
    Frame inner = frame.Inner(loop);
    inner.in_loop = true;
    VisitTarget(*stmt.targets[0], inner);
    Visit(stmt.body, inner);
    Frame else_frame = frame.Inner(other);
    if (stmt.recursive) else_frame.in_loop = false;
    Visit(stmt.else_body, else_frame);
    stmt.scope = loop.Plan();
    stmt.else_scope = other.Plan();
  }

  static bool Assigns(const Expr& target, const std::string& name) {
    if (target.kind == ExprKind::kName && target.name == name) return true;
    for (const ExprPtr& item : target.items) if (Assigns(*item, name)) return true;
    return false;
  }

  static void RefuseLoopTarget(const Stmt& stmt) {
    const bool stores = stmt.kind == StmtKind::kFor || stmt.kind == StmtKind::kSet || stmt.kind == StmtKind::kSetBlock;
    for (const ExprPtr& target : stmt.targets) {
      if (stores && Assigns(*target, "loop")) throw SyntaxError(target->line, "Can't assign to special loop variable in for-loop target");
    }
    for (const Body* body : {&stmt.body, &stmt.elifs, &stmt.else_body}) for (const auto& inner : *body) RefuseLoopTarget(*inner);
  }

  void VisitMacro(Stmt& stmt, const Frame& frame) {
    MacroPlan& macro = stmt.macro;
    FunctionScope function{&macro.function, frame.function, {}};
    Symbols symbols(frame.symbols, &function);
    const auto visit = [&] {
      for (const std::string& name : stmt.parameters) symbols.DeclareParameter(name);
      for (const ExprPtr& e : macro.defaults) symbols.VisitExpr(e.get());
      symbols.VisitBody(stmt.body);
    };
    visit();
    const std::set<std::string> undeclared = FindUndeclared(stmt.body, {"caller", "kwargs", "varargs"});
    macro.names = stmt.parameters;
    for (const std::string& name : stmt.parameters) macro.slots.push_back(symbols.OwnSlot(name));
    const auto declared = [&](const char* name) { return std::find(macro.names.begin(), macro.names.end(), name); };
    const auto add = [&](const char* name) {
      symbols.DeclareParameter(name);
      macro.slots.push_back(symbols.OwnSlot(name));
      return true;
    };
    if (undeclared.contains("caller")) {
      const auto at = declared("caller");
      if (at == macro.names.end()) {
        add("caller");
      } else if (static_cast<size_t>(at - macro.names.begin()) < macro.names.size() - macro.defaults.size()) {
        throw SyntaxError(stmt.line, "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default.");
      }
      macro.uses_caller = true;
    }
    if (undeclared.contains("kwargs") && declared("kwargs") == macro.names.end()) macro.uses_kwargs = add("kwargs");
    if (undeclared.contains("varargs") && declared("varargs") == macro.names.end()) macro.uses_varargs = add("varargs");
    visit();
    const Frame inner{&symbols, &function, false, false};
    for (ExprPtr& e : macro.defaults) VisitExpr(e.get(), inner);
    Visit(stmt.body, inner);
    macro.scope = symbols.Plan();
  }

  void VisitTarget(Expr& target, const Frame& frame) {
    if (target.kind != ExprKind::kTuple) target.ref = frame.symbols->Find(target.name, frame.function);
    for (ExprPtr& item : target.items) VisitTarget(*item, frame);
  }

  static void CollectNamespaces(const Expr& target, Stmt* stmt) {
    if (target.kind == ExprKind::kNamespaceRef) stmt->namespace_checks.push_back(target.ref);
    for (const ExprPtr& item : target.items) CollectNamespaces(*item, stmt);
  }

  void VisitExpr(Expr* expr, const Frame& frame) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kCondition && !frame.soft) {
      VisitExpr(expr, frame.Soft());
      return;
    }
    if (expr->kind == ExprKind::kName) expr->ref = frame.symbols->Find(expr->name, frame.function);
    if (expr->kind == ExprKind::kFilter || expr->kind == ExprKind::kTest) {
      const bool filter = expr->kind == ExprKind::kFilter;
      expr->function = filter ? FindFilter(expr->name) : FindTest(expr->name);
      if (expr->function == nullptr && !frame.soft) {
        throw SyntaxError(expr->line, std::string("No ") + (filter ? "filter" : "test") + " named '" + expr->name + "'.");
      }
    }
    for (ExprPtr& item : expr->items) VisitExpr(item.get(), frame);
    for (ExprPtr& e : expr->args.positional) VisitExpr(e.get(), frame);
    for (auto& [name, e] : expr->args.keyword) VisitExpr(e.get(), frame);
    VisitExpr(expr->args.star.get(), frame);
    VisitExpr(expr->args.double_star.get(), frame);
  }
};

}  // namespace

void ResolveScopes(TemplateTree* tree) { Resolver().Template(tree); }

}  // namespace fathom::jinja
