// Expressions of a template. The base of the statement parser.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace fathom::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) { CheckCurrent(); }

 protected:
  struct TupleRules {
    bool targets_only = false;     // names and literals, as on the left of `in` or `=`
    bool with_condition = true;    // `a if b` allowed
    bool parenthesized = false;    // () is an empty tuple
    bool with_namespace = false;   // ns.attribute allowed
    const char* end_name = nullptr;  // a name that also ends the tuple
  };

  const Token& Current() const { return tokens_[pos_]; }
  const Token& Look() const { return tokens_[pos_ + 1 < tokens_.size() ? pos_ + 1 : pos_]; }
  const Token& Take() {
    const Token& taken = Current();
    if (pos_ + 1 < tokens_.size()) ++pos_;
    CheckCurrent();
    return taken;
  }
  bool AtOperator(std::string_view op) const { return Current().type == TokenType::kOperator && Current().text == op; }
  bool AtName(std::string_view name) const { return Current().type == TokenType::kName && Current().text == name; }
  bool SkipOperator(std::string_view op) { return AtOperator(op) && (Take(), true); }
  bool SkipName(std::string_view name) { return AtName(name) && (Take(), true); }
  void ExpectOperator(std::string_view op);
  std::string ExpectName();
  void Expect(TokenType type, const char* what);
  static std::string Describe(const Token& token);
  [[noreturn]] void FailAt(int line, std::string cause) const { throw SyntaxError(line, std::move(cause)); }

  ExprPtr ParseExpression(bool with_condition = true);
  ExprPtr ParseTuple(const TupleRules& rules);
  // A name, a tuple of targets or (with_namespace) ns.attribute.
  ExprPtr ParseTarget(const TupleRules& rules);
  // `node` may be null: a filter block's input.
  ExprPtr ParseFilters(ExprPtr node, bool first_inline);

  // Guards the parser's own recursion.
  class Nested {
   public:
    explicit Nested(ExpressionParser& parser);
    ~Nested() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

 private:
  static constexpr int kMaxNesting = 100;
  static constexpr int kMaxDepth = 600;

  void CheckCurrent() const {
    if (Current().type == TokenType::kError) FailAt(Current().line, Current().text);
  }
  ExprPtr Make(ExprKind kind, int line, std::vector<ExprPtr> items = {});
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filter = true);
  ExprPtr ParsePrimary(bool with_namespace = false);
  ExprPtr ParseList();
  ExprPtr ParseDict();
  ExprPtr ParsePostfix(ExprPtr node);
  ExprPtr ParseFilterExpr(ExprPtr node);
  ExprPtr ParseSubscript(ExprPtr node);
  ExprPtr ParseSubscribed();
  ExprPtr ParseCall(ExprPtr node);
  ExprPtr ParseTest(ExprPtr node);
  std::string ParseDottedName();
  ArgumentExprs ParseArguments();
  void CheckTarget(const Expr& target) const;
  void Measure(Expr& expr) const;

  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int nesting_ = 0;
};

}  // namespace fathom::jinja
