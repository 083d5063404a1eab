#include "text/jinja/expression_parser.h"

#include <algorithm>

#include "text/jinja/printing.h"

namespace fathom::jinja {
namespace {

std::vector<ExprPtr> Items(ExprPtr a, ExprPtr b) {
  std::vector<ExprPtr> out;
  out.push_back(std::move(a));
  out.push_back(std::move(b));
  return out;
}

std::vector<ExprPtr> Items(ExprPtr a) {
  std::vector<ExprPtr> out;
  out.push_back(std::move(a));
  return out;
}

const char* KindName(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kConst: return "const";
    case ExprKind::kGetAttr: return "getattr";
    case ExprKind::kGetItem: return "getitem";
    case ExprKind::kList: return "list";
    case ExprKind::kDict: return "dict";
    case ExprKind::kCall: return "call";
    case ExprKind::kFilter: return "filter";
    default: return "expression";
  }
}

}  // namespace

ExpressionParser::Nested::Nested(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.nesting_ > kMaxNesting) {
    --parser_.nesting_;
    parser_.FailAt(parser_.Current().line, "nested deeper than " + std::to_string(kMaxNesting) + " levels");
  }
}

void ExpressionParser::Measure(Expr& expr) const {
  int depth = 0;
  const auto see = [&](const ExprPtr& e) { depth = std::max(depth, e ? e->depth : 0); };
  for (const ExprPtr& e : expr.items) see(e);
  for (const ExprPtr& e : expr.args.positional) see(e);
  for (const auto& [name, e] : expr.args.keyword) see(e);
  see(expr.args.star);
  see(expr.args.double_star);
  expr.depth = depth + 1;
  if (expr.depth > kMaxDepth) FailAt(expr.line, "an expression deeper than " + std::to_string(kMaxDepth) + " levels");
}

ExprPtr ExpressionParser::Make(ExprKind kind, int line, std::vector<ExprPtr> items) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  expr->items = std::move(items);
  Measure(*expr);
  return expr;
}

std::string ExpressionParser::Describe(const Token& token) {
  switch (token.type) {
    case TokenType::kData: return "template data";
    case TokenType::kVariableBegin: return "begin of print statement";
    case TokenType::kVariableEnd: return "end of print statement";
    case TokenType::kBlockBegin: return "begin of statement block";
    case TokenType::kBlockEnd: return "end of statement block";
    case TokenType::kString: return "string";
    case TokenType::kInteger: return "integer";
    case TokenType::kFloat: return "float";
    case TokenType::kEnd: return "end of template";
    default: return token.text;
  }
}

void ExpressionParser::ExpectOperator(std::string_view op) {
  if (!AtOperator(op)) FailAt(Current().line, "expected token '" + std::string(op) + "', got " + ReprText(Describe(Current())));
  Take();
}

std::string ExpressionParser::ExpectName() {
  if (Current().type != TokenType::kName) FailAt(Current().line, "expected token 'name', got " + ReprText(Describe(Current())));
  return Take().text;
}

void ExpressionParser::Expect(TokenType type, const char* what) {
  if (Current().type != type) FailAt(Current().line, "expected token '" + std::string(what) + "', got " + ReprText(Describe(Current())));
  Take();
}

ExprPtr ExpressionParser::ParseExpression(bool with_condition) {
  const Nested nested(*this);
  if (!with_condition) return ParseOr();
  int line = Current().line;
  ExprPtr value = ParseOr();
  while (SkipName("if")) {
    std::vector<ExprPtr> items;
    items.push_back(ParseOr());
    items.push_back(std::move(value));
    items.push_back(SkipName("else") ? ParseExpression() : nullptr);
    value = Make(ExprKind::kCondition, line, std::move(items));
    line = Current().line;
  }
  return value;
}

ExprPtr ExpressionParser::ParseOr() {
  int line = Current().line;
  ExprPtr left = ParseAnd();
  while (SkipName("or")) {
    left = Make(ExprKind::kOr, line, Items(std::move(left), ParseAnd()));
    line = Current().line;
  }
  return left;
}

ExprPtr ExpressionParser::ParseAnd() {
  int line = Current().line;
  ExprPtr left = ParseNot();
  while (SkipName("and")) {
    left = Make(ExprKind::kAnd, line, Items(std::move(left), ParseNot()));
    line = Current().line;
  }
  return left;
}

ExprPtr ExpressionParser::ParseNot() {
  const Nested nested(*this);
  const int line = Current().line;
  if (SkipName("not")) return Make(ExprKind::kNot, line, Items(ParseNot()));
  return ParseCompare();
}

ExprPtr ExpressionParser::ParseCompare() {
  static constexpr std::pair<const char*, CompareOp> kOperators[] = {
      {"==", CompareOp::kEqual}, {"!=", CompareOp::kNotEqual}, {"<", CompareOp::kLess},
      {"<=", CompareOp::kLessEqual}, {">", CompareOp::kGreater}, {">=", CompareOp::kGreaterEqual}};
  int line = Current().line;
  std::vector<ExprPtr> items = Items(ParseSum());
  std::vector<CompareOp> compares;
  while (true) {
    const auto* op = std::find_if(std::begin(kOperators), std::end(kOperators), [&](const auto& o) { return AtOperator(o.first); });
    if (op != std::end(kOperators)) {
      Take();
      compares.push_back(op->second);
    } else if (SkipName("in")) {
      compares.push_back(CompareOp::kIn);
    } else if (AtName("not") && Look().type == TokenType::kName && Look().text == "in") {
      Take();
      Take();
      compares.push_back(CompareOp::kNotIn);
    } else {
      break;
    }
    items.push_back(ParseSum());
    line = Current().line;
  }
  if (compares.empty()) return std::move(items[0]);
  ExprPtr out = Make(ExprKind::kCompare, line, std::move(items));
  out->compares = std::move(compares);
  return out;
}

ExprPtr ExpressionParser::ParseSum() {
  int line = Current().line;
  ExprPtr left = ParseConcat();
  while (AtOperator("+") || AtOperator("-")) {
    const Arithmetic op = Take().text == "+" ? Arithmetic::kAdd : Arithmetic::kSub;
    left = Make(ExprKind::kArithmetic, line, Items(std::move(left), ParseConcat()));
    left->arithmetic = op;
    line = Current().line;
  }
  return left;
}

ExprPtr ExpressionParser::ParseConcat() {
  const int line = Current().line;
  std::vector<ExprPtr> items = Items(ParseProduct());
  while (SkipOperator("~")) items.push_back(ParseProduct());
  return items.size() == 1 ? std::move(items[0]) : Make(ExprKind::kConcat, line, std::move(items));
}

ExprPtr ExpressionParser::ParseProduct() {
  int line = Current().line;
  ExprPtr left = ParsePower();
  while (AtOperator("*") || AtOperator("/") || AtOperator("//") || AtOperator("%")) {
    const std::string& text = Take().text;
    const Arithmetic op = text == "*" ? Arithmetic::kMul : text == "/" ? Arithmetic::kDiv : text == "//" ? Arithmetic::kFloorDiv : Arithmetic::kMod;
    left = Make(ExprKind::kArithmetic, line, Items(std::move(left), ParsePower()));
    left->arithmetic = op;
    line = Current().line;
  }
  return left;
}

ExprPtr ExpressionParser::ParsePower() {
  int line = Current().line;
  ExprPtr left = ParseUnary();
  while (SkipOperator("**")) {
    left = Make(ExprKind::kArithmetic, line, Items(std::move(left), ParseUnary()));
    left->arithmetic = Arithmetic::kPow;
    line = Current().line;
  }
  return left;
}

ExprPtr ExpressionParser::ParseUnary(bool with_filter) {
  const Nested nested(*this);
  const int line = Current().line;
  ExprPtr node;
  if (SkipOperator("-")) node = Make(ExprKind::kNegate, line, Items(ParseUnary(false)));
  else if (SkipOperator("+")) node = Make(ExprKind::kPlus, line, Items(ParseUnary(false)));
  else node = ParsePrimary();
  node = ParsePostfix(std::move(node));
  return with_filter ? ParseFilterExpr(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::ParsePrimary(bool with_namespace) {
  const Token token = Current();
  const auto constant = [&](Value value) {
    ExprPtr out = Make(ExprKind::kConst, token.line);
    out->constant = std::move(value);
    return out;
  };
  switch (token.type) {
    case TokenType::kName: {
      Take();
      if (token.text == "true" || token.text == "True") return constant(Value::Bool(true));
      if (token.text == "false" || token.text == "False") return constant(Value::Bool(false));
      if (token.text == "none" || token.text == "None") return constant(Value::None());
      const bool namespace_ref = with_namespace && SkipOperator(".");
      ExprPtr out = Make(namespace_ref ? ExprKind::kNamespaceRef : ExprKind::kName, token.line);
      out->name = token.text;
      if (namespace_ref) out->attribute = ExpectName();
      return out;
    }
    case TokenType::kString: {
      std::string text;
      while (Current().type == TokenType::kString) text += Take().text;
      return constant(Value::String(std::move(text)));
    }
    case TokenType::kInteger:
    case TokenType::kFloat: Take(); return constant(token.number);
    case TokenType::kOperator:
      if (token.text == "(") {
        Take();
        ExprPtr out = ParseTuple({.parenthesized = true});
        ExpectOperator(")");
        return out;
      }
      if (token.text == "[") return ParseList();
      if (token.text == "{") return ParseDict();
      [[fallthrough]];
    default: FailAt(token.line, "unexpected " + ReprText(Describe(token)));
  }
}

ExprPtr ExpressionParser::ParseTuple(const TupleRules& rules) {
  const Nested nested(*this);
  int line = Current().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) ExpectOperator(",");
    const TokenType type = Current().type;
    if (type == TokenType::kVariableEnd || type == TokenType::kBlockEnd || AtOperator(")")) break;
    if (rules.end_name != nullptr && AtName(rules.end_name)) break;
    items.push_back(rules.targets_only ? ParsePrimary(rules.with_namespace) : ParseExpression(rules.with_condition));
    if (!AtOperator(",")) break;
    is_tuple = true;
    line = Current().line;
  }
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (!rules.parenthesized) FailAt(Current().line, "Expected an expression, got " + ReprText(Describe(Current())));
  }
  return Make(ExprKind::kTuple, line, std::move(items));
}

void ExpressionParser::CheckTarget(const Expr& target) const {
  if (target.kind == ExprKind::kName || target.kind == ExprKind::kNamespaceRef) return;
  if (target.kind != ExprKind::kTuple) FailAt(target.line, std::string("can't assign to '") + KindName(target) + "'");
  for (const ExprPtr& item : target.items) {
    const bool assignable = item->kind == ExprKind::kName || item->kind == ExprKind::kNamespaceRef || item->kind == ExprKind::kTuple;
    if (!assignable) FailAt(target.line, "can't assign to 'tuple'");
    CheckTarget(*item);
  }
}

ExprPtr ExpressionParser::ParseTarget(const TupleRules& rules) {
  TupleRules target_rules = rules;
  target_rules.targets_only = true;
  ExprPtr target = ParseTuple(target_rules);
  CheckTarget(*target);
  return target;
}

ExprPtr ExpressionParser::ParseList() {
  const Nested nested(*this);
  const int line = Current().line;
  ExpectOperator("[");
  std::vector<ExprPtr> items;
  while (!AtOperator("]")) {
    if (!items.empty()) ExpectOperator(",");
    if (AtOperator("]")) break;
    items.push_back(ParseExpression());
  }
  ExpectOperator("]");
  return Make(ExprKind::kList, line, std::move(items));
}

ExprPtr ExpressionParser::ParseDict() {
  const Nested nested(*this);
  const int line = Current().line;
  ExpectOperator("{");
  std::vector<ExprPtr> items;
  while (!AtOperator("}")) {
    if (!items.empty()) ExpectOperator(",");
    if (AtOperator("}")) break;
    items.push_back(ParseExpression());
    ExpectOperator(":");
    items.push_back(ParseExpression());
  }
  ExpectOperator("}");
  return Make(ExprKind::kDict, line, std::move(items));
}

ExprPtr ExpressionParser::ParsePostfix(ExprPtr node) {
  while (true) {
    if (AtOperator(".") || AtOperator("[")) node = ParseSubscript(std::move(node));
    else if (AtOperator("(")) node = ParseCall(std::move(node));
    else return node;
  }
}

ExprPtr ExpressionParser::ParseFilterExpr(ExprPtr node) {
  while (true) {
    if (AtOperator("|")) node = ParseFilters(std::move(node), false);
    else if (AtName("is")) node = ParseTest(std::move(node));
    else if (AtOperator("(")) node = ParseCall(std::move(node));
    else return node;
  }
}

ExprPtr ExpressionParser::ParseSubscript(ExprPtr node) {
  const int line = Current().line;
  if (SkipOperator(".")) {
    const Token token = Take();
    if (token.type == TokenType::kName) {
      ExprPtr out = Make(ExprKind::kGetAttr, line, Items(std::move(node)));
      out->name = token.text;
      return out;
    }
    if (token.type != TokenType::kInteger) FailAt(token.line, "expected name or number");
    ExprPtr index = Make(ExprKind::kConst, token.line);
    index->constant = token.number;
    return Make(ExprKind::kGetItem, line, Items(std::move(node), std::move(index)));
  }
  ExpectOperator("[");
  const Nested nested(*this);
  std::vector<ExprPtr> indices;
  while (!AtOperator("]")) {
    if (!indices.empty()) ExpectOperator(",");
    indices.push_back(ParseSubscribed());
  }
  ExpectOperator("]");
  if (indices.size() == 1) return Make(ExprKind::kGetItem, line, Items(std::move(node), std::move(indices[0])));
  for (const ExprPtr& index : indices) {
    if (index->kind == ExprKind::kSlice) FailAt(line, "a slice in a tuple of indices");
  }
  return Make(ExprKind::kGetItem, line, Items(std::move(node), Make(ExprKind::kTuple, line, std::move(indices))));
}

ExprPtr ExpressionParser::ParseSubscribed() {
  const int line = Current().line;
  const auto at_end = [&] { return AtOperator("]") || AtOperator(","); };
  std::vector<ExprPtr> bounds;
  if (SkipOperator(":")) {
    bounds.push_back(nullptr);
  } else {
    ExprPtr node = ParseExpression();
    if (!SkipOperator(":")) return node;
    bounds.push_back(std::move(node));
  }
  bounds.push_back(AtOperator(":") || at_end() ? nullptr : ParseExpression());
  bounds.push_back(SkipOperator(":") && !at_end() ? ParseExpression() : nullptr);
  return Make(ExprKind::kSlice, line, std::move(bounds));
}

ArgumentExprs ExpressionParser::ParseArguments() {
  const Nested nested(*this);
  const int line = Current().line;
  ExpectOperator("(");
  ArgumentExprs out;
  const auto ensure = [&](bool ok) {
    if (!ok) FailAt(line, "invalid syntax for function call expression");
  };
  bool first = true;
  while (!AtOperator(")")) {
    if (!first) {
      ExpectOperator(",");
      if (AtOperator(")")) break;
    }
    first = false;
    if (SkipOperator("*")) {
      ensure(!out.star && !out.double_star);
      out.star = ParseExpression();
    } else if (SkipOperator("**")) {
      ensure(!out.double_star);
      out.double_star = ParseExpression();
    } else if (Current().type == TokenType::kName && Look().type == TokenType::kOperator && Look().text == "=") {
      ensure(!out.double_star);
      std::string name = Take().text;
      Take();
      for (const auto& [other, expr] : out.keyword) {
        if (other == name) FailAt(line, "keyword argument repeated: " + name);
      }
      ExprPtr value = ParseExpression();
      out.keyword.emplace_back(std::move(name), std::move(value));
    } else {
      ensure(!out.star && !out.double_star && out.keyword.empty());
      out.positional.push_back(ParseExpression());
    }
  }
  ExpectOperator(")");
  return out;
}

ExprPtr ExpressionParser::ParseCall(ExprPtr node) {
  const int line = Current().line;
  ArgumentExprs args = ParseArguments();
  ExprPtr out = Make(ExprKind::kCall, line, Items(std::move(node)));
  out->args = std::move(args);
  Measure(*out);
  return out;
}

std::string ExpressionParser::ParseDottedName() {
  std::string name = ExpectName();
  while (SkipOperator(".")) name += "." + ExpectName();
  return name;
}

ExprPtr ExpressionParser::ParseFilters(ExprPtr node, bool first_inline) {
  while (first_inline || AtOperator("|")) {
    if (!first_inline) Take();
    first_inline = false;
    const int line = Current().line;
    std::string name = ParseDottedName();
    ArgumentExprs args;
    if (AtOperator("(")) args = ParseArguments();
    node = Make(ExprKind::kFilter, line, Items(std::move(node)));
    node->name = std::move(name);
    node->args = std::move(args);
    Measure(*node);
  }
  return node;
}

ExprPtr ExpressionParser::ParseTest(ExprPtr node) {
  const int line = Current().line;
  Take();  // is
  const bool negated = SkipName("not");
  std::string name = ParseDottedName();
  ArgumentExprs args;
  const TokenType type = Current().type;
  const bool operand = type == TokenType::kName || type == TokenType::kString || type == TokenType::kInteger || type == TokenType::kFloat ||
                       AtOperator("[") || AtOperator("{");
  if (AtOperator("(")) {
    args = ParseArguments();
  } else if (operand && !AtName("else") && !AtName("or") && !AtName("and")) {
    if (AtName("is")) FailAt(Current().line, "You cannot chain multiple tests with is");
    args.positional.push_back(ParsePostfix(ParsePrimary()));
  }
  ExprPtr out = Make(ExprKind::kTest, line, Items(std::move(node)));
  out->name = std::move(name);
  out->args = std::move(args);
  Measure(*out);
  return negated ? Make(ExprKind::kNot, line, Items(std::move(out))) : std::move(out);
}

}  // namespace fathom::jinja
