#include "text/jinja/symbols.h"

#include "base/error.h"

namespace fathom::jinja {

int FunctionScope::Slot(int level, const std::string& name) {
  const auto [it, added] = slots.try_emplace({level, name}, plan->num_slots);
  if (added) ++plan->num_slots;
  return it->second;
}

int FunctionScope::HopsTo(const FunctionScope* outer) const {
  int hops = 0;
  for (const FunctionScope* f = this; f != outer; f = f->parent) ++hops;
  return hops;
}

const Symbols* Symbols::Owner(const std::string& name) const {
  for (const Symbols* s = this; s != nullptr; s = s->parent_) if (s->refs_.contains(name)) return s;
  return nullptr;
}

void Symbols::Store(const std::string& name) {
  stores_.insert(name);
  if (!refs_.insert(name).second) return;
  const Symbols* outer = parent_ == nullptr ? nullptr : parent_->Owner(name);
  loads_[name] = outer != nullptr ? LoadRule{SlotLoad::Action::kAlias, outer} : LoadRule{SlotLoad::Action::kUndefined, nullptr};
}

void Symbols::Load(const std::string& name) {
  if (Owner(name) != nullptr) return;
  refs_.insert(name);
  loads_[name] = {SlotLoad::Action::kResolve, nullptr};
}

void Symbols::DeclareParameter(const std::string& name) {
  stores_.insert(name);
  refs_.insert(name);
  loads_[name] = {SlotLoad::Action::kParameter, nullptr};
}

void Symbols::VisitTarget(const Expr& target, bool as_parameter) {
  if (target.kind == ExprKind::kName) {
    if (as_parameter) DeclareParameter(target.name);
    else Store(target.name);
  } else if (target.kind == ExprKind::kNamespaceRef) {
    Load(target.name);
  }
  for (const ExprPtr& item : target.items) VisitTarget(*item, as_parameter);
}

void Symbols::VisitArguments(const ArgumentExprs& args) {
  for (const ExprPtr& e : args.positional) VisitExpr(e.get());
  for (const auto& [name, e] : args.keyword) VisitExpr(e.get());
  VisitExpr(args.star.get());
  VisitExpr(args.double_star.get());
}

void Symbols::VisitExpr(const Expr* expr) {
  if (expr == nullptr) return;
  if (expr->kind == ExprKind::kName) Load(expr->name);
  for (const ExprPtr& item : expr->items) VisitExpr(item.get());
  VisitArguments(expr->args);
}

void Symbols::VisitBody(const Body& body) {
  for (const auto& stmt : body) VisitStmt(*stmt);
}

void Symbols::VisitStmt(const Stmt& stmt) {
  switch (stmt.kind) {
    case StmtKind::kOutput:
      for (const ExprPtr& e : stmt.exprs) VisitExpr(e.get());
      return;
    case StmtKind::kFor: VisitExpr(stmt.iterable.get()); return;
    case StmtKind::kIf: VisitIf(stmt); return;
    case StmtKind::kMacro: Store(stmt.name); return;
    case StmtKind::kCallBlock:
    case StmtKind::kFilterBlock: VisitExpr(stmt.value.get()); return;
    case StmtKind::kSet:
      VisitExpr(stmt.value.get());
      VisitTarget(*stmt.targets[0], false);
      return;
    case StmtKind::kSetBlock: VisitTarget(*stmt.targets[0], false); return;
    case StmtKind::kWith:
      for (const ExprPtr& e : stmt.exprs) VisitExpr(e.get());
      return;
    case StmtKind::kGeneration: case StmtKind::kBreak: case StmtKind::kContinue: return;
  }
}

void Symbols::VisitIf(const Stmt& stmt) {
  VisitExpr(stmt.exprs[0].get());
  std::vector<Symbols> branches(3, *this);
  branches[0].VisitBody(stmt.body);
  branches[1].VisitBody(stmt.elifs);
  branches[2].VisitBody(stmt.else_body);
  MergeBranches(branches);
}

void Symbols::MergeBranches(const std::vector<Symbols>& branches) {
  std::set<std::string> stored;
  for (const Symbols& branch : branches) stored.insert(branch.stores_.begin(), branch.stores_.end());
  for (const std::string& name : stores_) stored.erase(name);
  for (const Symbols& branch : branches) {
    refs_.insert(branch.refs_.begin(), branch.refs_.end());
    for (const auto& [name, rule] : branch.loads_) loads_[name] = rule;
    stores_.insert(branch.stores_.begin(), branch.stores_.end());
  }
  // What only some branches set has, where they do not, its outer value.
  for (const std::string& name : stored) {
    const Symbols* outer = parent_ == nullptr ? nullptr : parent_->Owner(name);
    loads_[name] = outer != nullptr ? LoadRule{SlotLoad::Action::kAlias, outer} : LoadRule{SlotLoad::Action::kResolve, nullptr};
  }
}

VariableRef Symbols::Find(const std::string& name, const FunctionScope* from) const {
  const Symbols* owner = Owner(name);
  FATHOM_CHECK(owner != nullptr, "the name {} was not visited", name);
  return {from->HopsTo(owner->function_), owner->OwnSlot(name)};
}

ScopePlan Symbols::Plan() const {
  ScopePlan plan;
  for (const auto& [name, rule] : loads_) {
    SlotLoad load;
    load.action = rule.action;
    load.slot = OwnSlot(name);
    load.name = name;
    if (rule.alias != nullptr) load.alias = {function_->HopsTo(rule.alias->function_), rule.alias->OwnSlot(name)};
    plan.loads.push_back(std::move(load));
  }
  return plan;
}

namespace {

// Walks in the order in which jinja2 visits a tree, which decides what counts as set before it is read.
class UndeclaredFinder {
 public:
  explicit UndeclaredFinder(std::set<std::string> names) : names_(std::move(names)) {}
  std::set<std::string> Take() { return std::move(undeclared_); }

  void VisitBody(const Body& body) {
    for (const auto& stmt : body) VisitStmt(*stmt);
  }

 private:
  void Read(const Expr* expr) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kName && names_.contains(expr->name)) undeclared_.insert(expr->name);
    for (const ExprPtr& item : expr->items) Read(item.get());
    for (const ExprPtr& e : expr->args.positional) Read(e.get());
    for (const auto& [name, e] : expr->args.keyword) Read(e.get());
    Read(expr->args.star.get());
    Read(expr->args.double_star.get());
  }
  void Set(const Expr& target) {
    if (target.kind == ExprKind::kName) names_.erase(target.name);
    for (const ExprPtr& item : target.items) Set(*item);
  }

  void VisitStmt(const Stmt& stmt) {
    for (const std::string& parameter : stmt.parameters) names_.erase(parameter);
    for (const ExprPtr& e : stmt.macro.defaults) Read(e.get());
    for (const ExprPtr& target : stmt.targets) Set(*target);
    Read(stmt.iterable.get());
    for (const ExprPtr& e : stmt.exprs) Read(e.get());
    if (stmt.kind != StmtKind::kFor) Read(stmt.value.get());
    VisitBody(stmt.body);
    VisitBody(stmt.elifs);
    VisitBody(stmt.else_body);
    if (stmt.kind == StmtKind::kFor) Read(stmt.value.get());
  }

  std::set<std::string> names_;
  std::set<std::string> undeclared_;
};

}  // namespace

std::set<std::string> FindUndeclared(const Body& body, std::set<std::string> names) {
  UndeclaredFinder finder(std::move(names));
  finder.VisitBody(body);
  return finder.Take();
}

}  // namespace fathom::jinja
