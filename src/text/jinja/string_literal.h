// String literals of a template.
#pragma once

#include <string>
#include <string_view>

namespace fathom::jinja {

// The content of a literal (without its quotes) with Python's escapes resolved; an unknown escape stays as it is.
// False and the cause for one that is cut short or names no character.
bool UnescapeLiteral(std::string_view literal, std::string* content, std::string* cause);

}  // namespace fathom::jinja
