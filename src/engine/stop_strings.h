// Cutting a stream of text at the first stop string. Text that may turn out to be the beginning of one is held back, so that no part of a
// stop string is ever shown, wherever token boundaries fall.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom {

class StopMatcher {
 public:
  // Empty stop strings are left out.
  explicit StopMatcher(std::vector<std::string> stops);
  // Adds a piece; gives the text that is certain now. After a match the rest of the text is dropped.
  // The match is the one that is complete first; of those the one that begins first.
  std::string Push(std::string_view piece);
  // The text ended without a match: what was held back.
  std::string Finish();
  bool matched() const { return matched_; }
  const std::string& match() const { return match_; }  // the stop string that was matched

 private:
  std::vector<std::string> stops_;
  std::string pending_, match_;
  bool matched_ = false;
};

}  // namespace fathom
