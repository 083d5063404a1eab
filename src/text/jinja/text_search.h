// Splitting, replacing and centring of text, as str does them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/operators.h"

namespace fathom::jinja {

// At most `limit` splits; a negative limit is none. The pieces view `text`.
std::vector<std::string_view> Split(std::string_view text, std::string_view separator, int64_t limit);
std::vector<std::string_view> SplitRight(std::string_view text, std::string_view separator, int64_t limit);
std::vector<std::string_view> SplitSpace(std::string_view text, int64_t limit);  // on runs of white space
std::vector<std::string_view> SplitSpaceRight(std::string_view text, int64_t limit);
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);
// The first `count` occurrences; negative: all.
std::string ReplaceText(std::string_view text, std::string_view old_text, std::string_view new_text, int64_t count, Budget& budget);
std::string CenterText(const std::string& text, int64_t width, char32_t fill, Budget& budget);

}  // namespace fathom::jinja
