// Attribute and item lookup by the rules of jinja2's ImmutableSandboxedEnvironment: what would change a list or a dict,
// and every name with a leading underscore, is an Undefined that fails when it is used.
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace fathom::jinja {

Value GetAttribute(const Value& object, std::string_view name);  // object.name
Value GetItem(const Value& object, const Value& index);          // object[index]
// A Python attribute of the object (methods bound to it): kMissing when there is none. Not the keys of a dict.
Value FindAttribute(const Value& object, std::string_view name);

}  // namespace fathom::jinja
