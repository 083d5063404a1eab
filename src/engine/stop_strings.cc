#include "engine/stop_strings.h"

#include <algorithm>
#include <utility>

namespace fathom {
namespace {

// Length of the longest end of `text` with which `stop` begins, shorter than `stop`.
size_t LongestBeginning(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == stop.substr(0, length)) return length;
  }
  return 0;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string StopMatcher::Push(std::string_view piece) {
  if (matched_) return "";
  pending_ += piece;
  size_t first_end = std::string::npos, start = 0;
  for (const std::string& stop : stops_) {
    const size_t at = pending_.find(stop);
    if (at == std::string::npos) continue;
    const size_t end = at + stop.size();
    if (end < first_end || (end == first_end && at < start)) {
      first_end = end;
      start = at;
      match_ = stop;
    }
  }
  if (first_end != std::string::npos) {
    matched_ = true;
    std::string text = pending_.substr(0, start);
    pending_.clear();
    return text;
  }
  size_t held = 0;
  for (const std::string& stop : stops_) held = std::max(held, LongestBeginning(pending_, stop));
  std::string text = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, text.size());
  return text;
}

std::string StopMatcher::Finish() { return std::exchange(pending_, {}); }

}  // namespace fathom
