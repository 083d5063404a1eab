// From a template's text to its tree, with names resolved.
#pragma once

#include <memory>
#include <string_view>

#include "text/jinja/ast.h"

namespace fathom::jinja {

// Throws SyntaxError. include, import, extends and block are refused: a chat template is one file.
std::unique_ptr<TemplateTree> ParseTemplate(std::string_view source);

}  // namespace fathom::jinja
