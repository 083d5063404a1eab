// Guessing the next tokens of a text that repeats itself: what stood behind the last time that its end was said.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fathom {

// Up to `most` tokens that followed the latest earlier occurrence of the last n tokens, n from kLongestKey down to kShortestKey ("prompt lookup
// decoding", A. Saxena, 2023). Empty where there is none.
std::vector<int32_t> LookUpDrafts(std::span<const int32_t> tokens, int64_t most);

inline constexpr int64_t kLongestKey = 4, kShortestKey = 2;
inline constexpr int64_t kLookUpWindow = 4096;  // tokens back that are searched

}  // namespace fathom
