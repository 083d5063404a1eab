// The name that a misspelt one most likely means.
#pragma once

#include <string>
#include <vector>

namespace fathom {

// The name of `names` that `name` most likely means (Levenshtein distance of at most 2, and under half of its length, of which a
// leading `--` is no part); "" if none.
std::string NearestName(const std::string& name, const std::vector<std::string>& names);

}  // namespace fathom
