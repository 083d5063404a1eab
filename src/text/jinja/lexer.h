// Tokens of a template, by jinja2's lexical rules with trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace fathom::jinja {

enum class TokenType {
  kData, kVariableBegin, kVariableEnd, kBlockBegin, kBlockEnd, kName, kString, kInteger, kFloat, kOperator, kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  int line = 1;
  std::string text;  // data, a name, a string's content, an operator as written
  Value number;      // of kInteger, kFloat
};

// A template that does not parse: "NAME: line N: cause" is made of it.
class SyntaxError : public std::exception {
 public:
  SyntaxError(int line, std::string cause) : line_(line), cause_(std::move(cause)) {}
  int line() const { return line_; }
  const char* what() const noexcept override { return cause_.c_str(); }

 private:
  int line_;
  std::string cause_;
};

// Throws SyntaxError. The last token is kEnd.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace fathom::jinja
