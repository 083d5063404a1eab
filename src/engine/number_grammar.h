// Numbers between bounds as EBNF.
#pragma once

#include <optional>
#include <string>

namespace fathom {

struct NumberRange {
  std::optional<double> least = {}, most = {};
  bool above_least = false, below_most = false;  // the bound itself is outside
  bool is_free() const { return !least && !most; }
};

// JSON integers, or JSON numbers without exponent, of at most 16 digits before and behind the point, within the range: an EBNF expression. Empty where
// there is none.
std::string IntegersBetween(const NumberRange& range);
std::string NumbersBetween(const NumberRange& range);

}  // namespace fathom
