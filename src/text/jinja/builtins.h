// What a template finds by name: filters, tests, global functions, methods of the builtin types.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

// nullptr: there is none of the name. A test gives a value whose truth counts.
FilterFunction FindFilter(const std::string& name);
FilterFunction FindTest(const std::string& name);
// Of a str, list, tuple, dict, int or float.
FilterFunction FindMethod(const Value& self, std::string_view name);
// range, dict, namespace, cycler, joiner, raise_exception, strftime_now; kMissing: none of the name.
Value FindGlobal(const std::string& name);

// A function of the host, or a method bound to its object.
Value MakeFunction(std::string name, Value self, FilterFunction function);

// Arguments in the order of `names`, kMissing where one is absent. Throws TypeError for one too many, one that is
// unknown or given twice, and when fewer than `required` are given.
std::vector<Value> Bind(const char* function, const CallArgs& args, std::initializer_list<const char*> names, size_t required);
void RefuseArguments(const char* function, const CallArgs& args);

// An argument as Python's C functions take it; throw TypeError.
int64_t IntegerArgument(const Value& value);                  // __index__; clamped to 64 bits
const std::string& TextArgument(const char* function, const Value& value);

}  // namespace fathom::jinja
