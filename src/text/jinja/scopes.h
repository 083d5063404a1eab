// Which variable a name means. jinja2 compiles a template to Python functions and decides for every scope at compile
// time where its names live; what a template may see of that (a name set later in an outer scope hides the context's, an
// `if` does not open a scope, a loop's body starts each turn with the outer values) is the same here.
#pragma once

#include "text/jinja/ast.h"

namespace fathom::jinja {

// Fills the slots, plans and filter functions of the tree. Throws SyntaxError for an unknown filter or test (outside an
// `if`, where it is an error only when it runs), `break` outside a loop and an assignment to `loop` in one.
void ResolveScopes(TemplateTree* tree);

}  // namespace fathom::jinja
