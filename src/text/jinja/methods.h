// Methods by type; FindMethod of builtins.h chooses among them.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace fathom::jinja {

FilterFunction FindStringMethod(std::string_view name);
FilterFunction FindDictMethod(std::string_view name);
FilterFunction FindSequenceMethod(std::string_view name);  // list, tuple, range
FilterFunction FindIntegerMethod(std::string_view name);
FilterFunction FindFloatMethod(std::string_view name);

}  // namespace fathom::jinja
