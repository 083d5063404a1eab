// Python's three ways from values to formatted text: `%`, str.format and json.dumps.
#pragma once

#include <string>

#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

// format % arguments.
Value FormatPercent(const Value& format, const Value& arguments, Budget& budget);
// format.format(*args, **kwargs), with the attribute rules of the sandbox.
Value FormatBraces(const Value& format, const CallArgs& args, Budget& budget);
// format(value, spec).
std::string FormatSpec(const Value& value, const std::string& spec, Budget& budget);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;              // of one level, when indented
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps. Throws TypeError for what JSON cannot hold (Undefined among it).
std::string DumpJson(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace fathom::jinja
