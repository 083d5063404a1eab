#include "text/pre_tokenizer.h"

#include <algorithm>

namespace fathom {
namespace {

using Flagged = std::vector<std::pair<Match, bool>>;

// Matches (true) and what lies between them (false), in order, empty matches included.
Flagged FindAll(const SplitPattern& pattern, std::string_view text) {
  Flagged found;
  size_t done = 0;
  bool any = false;
  size_t last_end = 0;
  for (size_t from = 0; from <= text.size();) {
    const auto match = pattern.Find(text, from);
    if (!match) break;
    if (match->begin == match->end && any && last_end == match->end) {
      // No empty match right behind a match.
      if (from >= text.size()) break;
      const char* p = text.data() + from;
      NextCodePoint(p);
      from = static_cast<size_t>(p - text.data());
      continue;
    }
    if (done != match->begin) found.push_back({{done, match->begin}, false});
    found.push_back({*match, true});
    done = from = last_end = match->end;
    any = true;
  }
  if (done != text.size()) found.push_back({{done, text.size()}, false});
  return found;
}

// A match joins the piece before it, unless that ends with a match.
Flagged MergeWithPrevious(const Flagged& found) {
  Flagged merged;
  bool previous = false;
  for (const auto& [match, is_match] : found) {
    if (is_match && !previous && !merged.empty())
      merged.back().first.end = match.end;
    else
      merged.push_back({match, false});
    previous = is_match;
  }
  return merged;
}

Flagged MergeWithNext(const Flagged& found) {
  Flagged merged;
  bool previous = false;
  for (auto it = found.rbegin(); it != found.rend(); ++it) {
    const auto& [match, is_match] = *it;
    if (is_match && !previous && !merged.empty())
      merged.back().first.begin = match.begin;
    else
      merged.push_back({match, false});
    previous = is_match;
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

Flagged MergeEqual(const Flagged& found) {
  Flagged merged;
  bool previous = false;
  for (const auto& [match, is_match] : found) {
    if (is_match == previous && !merged.empty())
      merged.back().first.end = match.end;
    else
      merged.push_back({match, false});
    previous = is_match;
  }
  return merged;
}

}  // namespace

std::vector<PreTokenizer::Piece> PreTokenizer::Pieces(const SplitPattern& pattern, SplitBehavior behavior, bool invert,
                                                      std::string_view text) {
  Flagged found = FindAll(pattern, text);
  if (invert)
    for (auto& piece : found) piece.second = !piece.second;
  switch (behavior) {
    case SplitBehavior::kRemoved: break;
    case SplitBehavior::kMergedWithPrevious: found = MergeWithPrevious(found); break;
    case SplitBehavior::kMergedWithNext: found = MergeWithNext(found); break;
    case SplitBehavior::kContiguous: found = MergeEqual(found); break;
    case SplitBehavior::kIsolated:
      for (auto& piece : found) piece.second = false;
      break;
  }
  return found;
}

std::string PreTokenizer::WithMetaspaces(const MetaspaceStep& step, std::string_view text, bool is_first) {
  std::string replaced;
  for (const char c : text) {
    if (c == ' ')
      replaced += step.replacement;
    else
      replaced += c;
  }
  const bool prepend = step.prepend == MetaspaceStep::Prepend::kAlways ||
                       (step.prepend == MetaspaceStep::Prepend::kFirst && is_first);
  return prepend && !replaced.starts_with(step.replacement) ? step.replacement + replaced : replaced;
}

}  // namespace fathom
