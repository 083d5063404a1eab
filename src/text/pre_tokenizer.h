// Pre-tokenizers of tokenizer.json: a list of steps, each of which cuts every piece that it is given into smaller ones. Pieces go
// through depth first, so that a text of any length needs no list of them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/utf8.h"
#include "text/split_pattern.h"

namespace fathom {

// What becomes of a match ("delimiter"). Isolated: a piece of its own; Removed: dropped; MergedWithPrevious/Next: joined to that
// neighbour; Contiguous: neighbouring matches are one piece.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct SplitStep {
  std::unique_ptr<SplitPattern> pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what does not match is the delimiter
};

// Blanks become `replacement`, one of which may be put in front.
struct MetaspaceStep {
  enum class Prepend { kNever, kFirst, kAlways };
  std::string replacement;
  Prepend prepend = Prepend::kAlways;
  bool split = true;
  std::unique_ptr<SplitPattern> pattern;  // of the replacement
};

// A blank is put before a piece that begins with none.
struct PrefixSpaceStep {};

using PreTokenizerStep = std::variant<SplitStep, MetaspaceStep, PrefixSpaceStep>;

class PreTokenizer {
 public:
  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}

  // Calls emit(piece) for each piece of `text` (valid UTF-8, not empty) in order. `is_first`: the text begins the whole input.
  template <typename Emit>
  void Run(std::string_view text, bool is_first, Emit&& emit) const {
    Step(0, text, is_first, emit);
  }

 private:
  using Piece = std::pair<Match, bool>;  // and whether it is dropped

  template <typename Emit>
  void Step(size_t step_idx, std::string_view text, bool is_first, Emit& emit) const {
    if (text.empty()) return;
    if (step_idx == steps_.size()) return emit(text);
    const PreTokenizerStep& step = steps_[step_idx];
    if (const auto* split = std::get_if<SplitStep>(&step)) {
      if (split->behavior == SplitBehavior::kIsolated) return Isolate(step_idx, *split->pattern, text, is_first, emit);
      for (const auto& [match, dropped] : Pieces(*split->pattern, split->behavior, split->invert, text))
        if (!dropped) Step(step_idx + 1, Part(text, match), is_first && match.begin == 0, emit);
    } else if (const auto* metaspace = std::get_if<MetaspaceStep>(&step)) {
      const std::string replaced = WithMetaspaces(*metaspace, text, is_first);
      if (!metaspace->split) return Step(step_idx + 1, replaced, is_first, emit);
      for (const auto& [match, dropped] : Pieces(*metaspace->pattern, SplitBehavior::kMergedWithNext, false, replaced))
        if (!dropped) Step(step_idx + 1, Part(replaced, match), is_first && match.begin == 0, emit);
    } else if (text.front() != ' ') {
      Step(step_idx + 1, " " + std::string(text), is_first, emit);
    } else {
      Step(step_idx + 1, text, is_first, emit);
    }
  }

  // The common case, without a list: matches and what lies between them are pieces.
  template <typename Emit>
  void Isolate(size_t step_idx, const SplitPattern& pattern, std::string_view text, bool is_first, Emit& emit) const {
    size_t done = 0;
    for (size_t from = 0; from < text.size();) {
      const auto match = pattern.Find(text, from);
      if (!match) break;
      if (match->begin == match->end) {  // an empty match still cuts
        if (match->begin >= text.size()) break;
        if (match->begin > done) Step(step_idx + 1, Part(text, {done, match->begin}), is_first && done == 0, emit);
        done = match->begin;
        const char* p = text.data() + match->begin;
        NextCodePoint(p);
        from = static_cast<size_t>(p - text.data());
        continue;
      }
      if (match->begin > done) Step(step_idx + 1, Part(text, {done, match->begin}), is_first && done == 0, emit);
      Step(step_idx + 1, Part(text, *match), is_first && match->begin == 0, emit);
      done = from = match->end;
    }
    if (done < text.size()) Step(step_idx + 1, text.substr(done), is_first && done == 0, emit);
  }

  static std::string_view Part(std::string_view text, Match match) {
    return text.substr(match.begin, match.end - match.begin);
  }
  static std::vector<Piece> Pieces(const SplitPattern& pattern, SplitBehavior behavior, bool invert, std::string_view text);
  static std::string WithMetaspaces(const MetaspaceStep& step, std::string_view text, bool is_first);

  std::vector<PreTokenizerStep> steps_;
};

}  // namespace fathom
