// Values as text: Python's str(), repr() and type names.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace fathom::jinja {

// Counts the nesting of a recursive walk over values; throws RenderError past kMaxNesting, before the stack ends.
class NestingGuard {
 public:
  NestingGuard();
  ~NestingGuard();
  NestingGuard(const NestingGuard&) = delete;
  NestingGuard& operator=(const NestingGuard&) = delete;

 private:
  static constexpr int kMaxNesting = 400;
};

std::string Str(const Value& value);
std::string Repr(const Value& value);
std::string ReprText(std::string_view text);  // of a str
std::string ReprFloat(double value);
std::string IntText(Int value);
std::string TypeName(const Value& value);     // type(value).__name__
std::string EscapeHtml(std::string_view text);

}  // namespace fathom::jinja
