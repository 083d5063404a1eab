#include "engine/prompt_lookup.h"

#include <algorithm>
#include <iterator>

namespace fathom {

std::vector<int32_t> LookUpDrafts(std::span<const int32_t> tokens, int64_t most) {
  const int64_t size = std::ssize(tokens);
  // One pass back over the text: how far the tokens before each place agree with the end.
  int64_t best_end = -1, best_length = kShortestKey - 1;
  for (int64_t end = size - 1; end >= kShortestKey && end >= size - kLookUpWindow && best_length < kLongestKey; --end) {
    int64_t length = 0;
    while (length < std::min(kLongestKey, end) && tokens[static_cast<size_t>(end - 1 - length)] == tokens[static_cast<size_t>(size - 1 - length)]) ++length;
    if (length <= best_length) continue;
    best_length = length;
    best_end = end;
  }
  if (best_end < 0) return {};
  const auto first = tokens.begin() + best_end;
  return {first, first + std::min(most, size - best_end)};
}

}  // namespace fathom
