// Filters, by what they work on; FindFilter of builtins.h chooses among them.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

using FilterTable = std::map<std::string, FilterFunction, std::less<>>;

const FilterTable& TextFilters();
const FilterTable& MarkupFilters();
const FilterTable& NumberFilters();
const FilterTable& SequenceFilters();
const FilterTable& SelectionFilters();  // map, select, sort and the like: those that look at attributes

// A Python generator: `next` runs once an item, and only when somebody asks.
Value MakeGenerator(std::function<bool(Value*)> next, const char* type_name = "generator");

// jinja2's make_attrgetter: "a.b.0" looks up a, then b, then item 0; kMissing gives the item itself. `fallback`
// (unless kMissing or None) stands in for what is undefined.
Value LookUpPath(const Value& item, const Value& path, const Value& fallback);
// Strings in lower case, all else as it is.
Value IgnoreCase(const Value& value);

}  // namespace fathom::jinja
