#include "text/jinja/parser.h"

#include "text/jinja/expression_parser.h"
#include "text/jinja/printing.h"
#include "text/jinja/scopes.h"

namespace fathom::jinja {
namespace {

ExprPtr CloneTarget(const Expr& target) {
  auto out = std::make_unique<Expr>();
  out->kind = target.kind;
  out->line = target.line;
  out->depth = target.depth;
  out->name = target.name;
  out->attribute = target.attribute;
  for (const ExprPtr& item : target.items) out->items.push_back(CloneTarget(*item));
  return out;
}

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body ParseAll() {
    Body body = ParseBody({});
    return body;
  }

 private:
  using StmtPtr = std::unique_ptr<Stmt>;

  static StmtPtr Make(StmtKind kind, int line) {
    auto out = std::make_unique<Stmt>();
    out->kind = kind;
    out->line = line;
    return out;
  }

  // Statements up to one of `ends` (the token after `{%`), which is left as the current one.
  Body ParseBody(const std::vector<const char*>& ends) {
    const Nested nested(*this);
    Body body;
    StmtPtr output;
    const auto print = [&](ExprPtr expr) {
      if (!output) output = Make(StmtKind::kOutput, expr->line);
      output->exprs.push_back(std::move(expr));
    };
    const auto flush = [&] {
      if (output) body.push_back(std::move(output));
    };
    while (Current().type != TokenType::kEnd) {
      if (Current().type == TokenType::kData) {
        auto data = std::make_unique<Expr>();
        data->line = Current().line;
        data->constant = Value::String(Take().text);
        print(std::move(data));
      } else if (Current().type == TokenType::kVariableBegin) {
        Take();
        print(ParseTuple({}));
        Expect(TokenType::kVariableEnd, "end of print statement");
      } else {
        flush();
        Take();  // {%
        for (const char* end : ends) if (AtName(end)) return body;
        body.push_back(ParseStatement());
        Expect(TokenType::kBlockEnd, "end of statement block");
      }
    }
    flush();
    if (!ends.empty()) FailExpected("Unexpected end of template.", ends);
    return body;
  }

  [[noreturn]] void FailExpected(std::string cause, const std::vector<const char*>& ends) {
    if (!ends.empty()) {
      cause += " Jinja was looking for the following tags: ";
      for (size_t i = 0; i < ends.size(); ++i) cause += (i > 0 ? " or '" : "'") + std::string(ends[i]) + "'";
      cause += ".";
    }
    if (!tags_.empty()) cause += " The innermost block that needs to be closed is '" + tags_.back() + "'.";
    FailAt(Current().line, cause);
  }

  // From the end of the opening tag to one of `ends`, which is taken; its name comes back.
  std::string ParseBlock(Body* body, const std::vector<const char*>& ends) {
    SkipOperator(":");
    Expect(TokenType::kBlockEnd, "end of statement block");
    end_stack_.push_back(ends);
    *body = ParseBody(ends);
    end_stack_.pop_back();
    return Take().text;
  }

  StmtPtr ParseStatement() {
    if (Current().type != TokenType::kName) FailAt(Current().line, "tag name expected");
    const std::string tag = Current().text;
    const int line = Current().line;
    tags_.push_back(tag);
    StmtPtr out = ParseTag(tag, line);
    tags_.pop_back();
    return out;
  }

  StmtPtr ParseTag(const std::string& tag, int line) {
    if (tag == "for") return ParseFor(line);
    if (tag == "if") return ParseIf(line);
    if (tag == "set") return ParseSet(line);
    if (tag == "macro") return ParseMacro(line);
    if (tag == "call") return ParseCallBlock(line);
    if (tag == "with") return ParseWith(line);
    if (tag == "filter") {
      Take();
      StmtPtr out = Make(StmtKind::kFilterBlock, line);
      out->value = ParseFilters(nullptr, true);
      ParseBlock(&out->body, {"endfilter"});
      return out;
    }
    if (tag == "generation") {
      Take();
      StmtPtr out = Make(StmtKind::kGeneration, line);
      ParseBlock(&out->body, {"endgeneration"});
      return out;
    }
    if (tag == "break" || tag == "continue") {
      Take();
      return Make(tag == "break" ? StmtKind::kBreak : StmtKind::kContinue, line);
    }
    if (tag == "print") {
      Take();
      StmtPtr out = Make(StmtKind::kOutput, line);
      while (Current().type != TokenType::kBlockEnd) {
        if (!out->exprs.empty()) ExpectOperator(",");
        out->exprs.push_back(ParseExpression());
      }
      return out;
    }
    for (const char* refused : {"include", "import", "from", "extends", "block", "autoescape"}) {
      if (tag == refused) FailAt(line, "the tag '" + tag + "' is not supported in a chat template");
    }
    tags_.pop_back();
    FailExpected("Encountered unknown tag '" + tag + "'.", end_stack_.empty() ? std::vector<const char*>{} : end_stack_.back());
  }

  StmtPtr ParseFor(int line) {
    Take();
    StmtPtr out = Make(StmtKind::kFor, line);
    out->targets.push_back(ParseTarget({.end_name = "in"}));
    if (!SkipName("in")) FailAt(Current().line, "expected token 'in', got " + ReprText(Describe(Current())));
    out->iterable = ParseTuple({.with_condition = false, .end_name = "recursive"});
    if (SkipName("if")) {
      out->value = ParseExpression();
      out->test_target = CloneTarget(*out->targets[0]);
    }
    out->recursive = SkipName("recursive");
    if (ParseBlock(&out->body, {"endfor", "else"}) == "else") ParseBlock(&out->else_body, {"endfor"});
    return out;
  }

  StmtPtr ParseIf(int line) {
    Take();
    StmtPtr out = Make(StmtKind::kIf, line);
    Stmt* node = out.get();
    while (true) {
      node->exprs.push_back(ParseTuple({.with_condition = false}));
      const std::string end = ParseBlock(&node->body, {"elif", "else", "endif"});
      if (end == "elif") {
        out->elifs.push_back(Make(StmtKind::kIf, Current().line));
        node = out->elifs.back().get();
        continue;
      }
      if (end == "else") ParseBlock(&out->else_body, {"endif"});
      return out;
    }
  }

  StmtPtr ParseSet(int line) {
    Take();
    ExprPtr target = ParseTarget({.with_namespace = true});
    StmtPtr out = Make(SkipOperator("=") ? StmtKind::kSet : StmtKind::kSetBlock, line);
    out->targets.push_back(std::move(target));
    if (out->kind == StmtKind::kSet) {
      out->value = ParseTuple({});
    } else {
      out->value = ParseFilters(nullptr, false);
      ParseBlock(&out->body, {"endset"});
    }
    return out;
  }

  void ParseSignature(Stmt* out) {
    ExpectOperator("(");
    while (!AtOperator(")")) {
      if (!out->parameters.empty()) ExpectOperator(",");
      const int line = Current().line;
      std::string name = ExpectName();
      for (const char* constant : {"true", "false", "none", "True", "False", "None"}) {
        if (name == constant) FailAt(line, "can't assign to 'name'");
      }
      for (const std::string& other : out->parameters) if (other == name) FailAt(line, "duplicate argument '" + name + "' in function definition");
      if (SkipOperator("=")) out->macro.defaults.push_back(ParseExpression());
      else if (!out->macro.defaults.empty()) FailAt(Current().line, "non-default argument follows default argument");
      out->parameters.push_back(std::move(name));
    }
    ExpectOperator(")");
  }

  StmtPtr ParseMacro(int line) {
    Take();
    StmtPtr out = Make(StmtKind::kMacro, line);
    out->name = ExpectName();
    ParseSignature(out.get());
    ParseBlock(&out->body, {"endmacro"});
    return out;
  }

  StmtPtr ParseCallBlock(int line) {
    Take();
    StmtPtr out = Make(StmtKind::kCallBlock, line);
    if (AtOperator("(")) ParseSignature(out.get());
    out->value = ParseExpression();
    if (out->value->kind != ExprKind::kCall) FailAt(line, "expected call");
    ParseBlock(&out->body, {"endcall"});
    return out;
  }

  StmtPtr ParseWith(int line) {
    Take();
    StmtPtr out = Make(StmtKind::kWith, line);
    while (Current().type != TokenType::kBlockEnd) {
      if (!out->targets.empty()) ExpectOperator(",");
      out->targets.push_back(ParseTarget({}));
      ExpectOperator("=");
      out->exprs.push_back(ParseExpression());
    }
    ParseBlock(&out->body, {"endwith"});
    return out;
  }

  std::vector<std::string> tags_;
  std::vector<std::vector<const char*>> end_stack_;
};

}  // namespace

std::unique_ptr<TemplateTree> ParseTemplate(std::string_view source) {
  auto tree = std::make_unique<TemplateTree>();
  tree->body = Parser(Tokenize(source)).ParseAll();
  ResolveScopes(tree.get());
  return tree;
}

}  // namespace fathom::jinja
