// The tree of a template. Names are resolved to slots after parsing (scopes.h).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<std::unique_ptr<Stmt>>;
using FilterFunction = Value (*)(Interpreter&, const Value&, const CallArgs&);

// A variable: `hops` functions out, slot `slot` there.
struct VariableRef {
  int hops = 0;
  int slot = -1;
};

enum class ExprKind {
  kConst, kName, kNamespaceRef, kTuple, kList, kDict, kGetAttr, kGetItem, kSlice, kCall, kFilter, kTest, kCondition, kOr, kAnd, kNot,
  kCompare, kArithmetic, kConcat, kNegate, kPlus,
};
enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

struct ArgumentExprs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keyword;
  ExprPtr star;         // *args
  ExprPtr double_star;  // **kwargs
};

struct Expr {
  ExprKind kind = ExprKind::kConst;
  int line = 1;
  int depth = 1;                    // of the tree below, itself included
  Value constant;                   // kConst
  std::string name;                 // kName, kNamespaceRef, kGetAttr, kFilter, kTest
  std::string attribute;            // kNamespaceRef
  std::vector<ExprPtr> items;       // operands in the order of the text; null where absent (slice bounds, else, filter input)
  std::vector<CompareOp> compares;  // kCompare: between items
  Arithmetic arithmetic = Arithmetic::kAdd;
  ArgumentExprs args;               // kCall, kFilter, kTest
  VariableRef ref;                  // kName, kNamespaceRef
  FilterFunction function = nullptr;  // kFilter, kTest; null: no such name, an error when it runs
};

// What a scope does to its slots when it is entered; all of them are emptied when it is left.
struct SlotLoad {
  enum class Action { kParameter, kResolve, kAlias, kUndefined } action = Action::kUndefined;
  int slot = -1;
  std::string name;   // kResolve: of the context
  VariableRef alias;  // kAlias: whose value it takes
};
struct ScopePlan {
  std::vector<SlotLoad> loads;
};
// A unit with slots of its own: the template, a macro, the body of `call`, a recursive loop, a loop's filter.
struct FunctionPlan {
  int num_slots = 0;
};

enum class StmtKind {
  kOutput, kFor, kIf, kMacro, kCallBlock, kFilterBlock, kSet, kSetBlock, kWith, kGeneration, kBreak, kContinue,
};

struct MacroPlan {
  FunctionPlan function;
  ScopePlan scope;
  std::vector<std::string> names;  // of the arguments
  std::vector<int> slots;          // of the arguments, then of caller, kwargs, varargs as far as they are used
  std::vector<ExprPtr> defaults;   // of the last arguments
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
};

struct Stmt {
  StmtKind kind = StmtKind::kOutput;
  int line = 1;
  std::vector<ExprPtr> exprs;    // kOutput: what is printed (data as constants); kWith: values; kIf: the one test
  std::vector<ExprPtr> targets;  // kFor, kSet, kSetBlock: one; kWith: one a value
  ExprPtr test_target;           // kFor: the target again, for the filter's own slots
  ExprPtr iterable;              // kFor
  ExprPtr value;                 // kSet: value; kSetBlock, kFilterBlock: filter chain (null: none); kCallBlock: the call; kFor: filter
  bool recursive = false;        // kFor
  Body body;
  Body else_body;                // kFor, kIf
  std::vector<std::unique_ptr<Stmt>> elifs;  // kIf
  std::string name;              // kMacro
  VariableRef ref;               // kMacro
  MacroPlan macro;               // kMacro, kCallBlock, kGeneration
  std::vector<std::string> parameters;  // kMacro, kCallBlock
  ScopePlan scope, else_scope, test_scope;
  FunctionPlan loop_function, test_function;
  int loop_slot = -1;            // kFor: `loop`
  std::vector<VariableRef> namespace_checks;  // kSet: must be namespaces
};

struct TemplateTree {
  Body body;
  FunctionPlan function;
  ScopePlan scope;
};

}  // namespace fathom::jinja
