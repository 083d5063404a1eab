// Tokens of a template, by jinja2's lexical rules with trim_blocks and lstrip_blocks.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace fathom::jinja {

enum class TokenType {
  kData, kVariableBegin, kVariableEnd, kBlockBegin, kBlockEnd, kName, kString, kInteger, kFloat, kOperator, kEnd,
  kError,  // the last: what cannot be read from here on; its text is the cause
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

// The last token is kEnd, or kError: an error of the grammar in front of it is found first.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace fathom::jinja
