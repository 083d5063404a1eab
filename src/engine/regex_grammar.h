// Regular expressions as EBNF.
#pragma once

#include <string>
#include <string_view>

namespace fathom {

enum class RegexPlace {
  kText,        // the texts that the expression matches whole
  kJsonString,  // what may stand between the quotes of a JSON string whose value it matches whole
};

// An EBNF expression for the expression's texts. The whole text must match, with or without ^ and $ around it. Understood: | ( ) (?: ) named groups . [ ]
// \d \w \s \D \W \S (of ASCII), \n \t \r \f \v \xHH \uHHHH \u{H}, * + ? {m,n} and their lazy forms. Throws UserError, beginning with `what`, for lookaround, back
// references, word boundaries, flags and what is no expression.
std::string RegexToEbnf(std::string_view regex, RegexPlace place, const std::string& what);

}  // namespace fathom
