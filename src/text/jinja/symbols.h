// The names of one scope, gathered before its code is resolved.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"

namespace fathom::jinja {

// A function while it is resolved: names at a level of nesting share a slot.
struct FunctionScope {
  FunctionPlan* plan = nullptr;
  FunctionScope* parent = nullptr;
  std::map<std::pair<int, std::string>, int> slots;

  int Slot(int level, const std::string& name);
  int HopsTo(const FunctionScope* outer) const;
};

class Symbols {
 public:
  Symbols(const Symbols* parent, FunctionScope* function)
      : parent_(parent), function_(function), level_(parent == nullptr ? 0 : parent->level_ + 1) {}

  void Store(const std::string& name);
  void Load(const std::string& name);
  void DeclareParameter(const std::string& name);

  // Names that a body, or an expression, reads and sets in this scope (not in the scopes it opens).
  void VisitBody(const Body& body);
  void VisitStmt(const Stmt& stmt);
  void VisitExpr(const Expr* expr);
  void VisitTarget(const Expr& target, bool as_parameter);

  // Where `name` lives, seen from `from`. The name must have been visited.
  VariableRef Find(const std::string& name, const FunctionScope* from) const;
  int OwnSlot(const std::string& name) const { return function_->Slot(level_, name); }
  ScopePlan Plan() const;
  FunctionScope* function() const { return function_; }

 private:
  struct LoadRule {
    SlotLoad::Action action = SlotLoad::Action::kUndefined;
    const Symbols* alias = nullptr;
  };
  const Symbols* Owner(const std::string& name) const;
  void VisitArguments(const ArgumentExprs& args);
  void VisitIf(const Stmt& stmt);
  void MergeBranches(const std::vector<Symbols>& branches);

  const Symbols* parent_;
  FunctionScope* function_;
  int level_;
  std::set<std::string> refs_;
  std::map<std::string, LoadRule> loads_;
  std::set<std::string> stores_;
};

// The names among `names` that the bodies read before they set them, nested scopes included.
std::set<std::string> FindUndeclared(const Body& body, std::set<std::string> names);

}  // namespace fathom::jinja
