// From Oniguruma's regular expressions (Ruby syntax) to PCRE2's, with every class written out as code points so that both
// engines mean the same sets whatever their Unicode versions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/split_pattern.h"

namespace fathom {

// Throws UserError naming the construct that is not supported.
std::string TranslateRegex(std::string_view regex);

// The pattern as a run of one set (`\p{N}{1,3}`, `\s?\p{L}+`, `[\r\n]`, `\s+$`), if it is one.
std::optional<RunPattern> ParseRunPattern(std::string_view regex);

}  // namespace fathom
