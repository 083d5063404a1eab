#include <algorithm>
#include <array>
#include <vector>

#include "base/utf8.h"
#include "text/split_pattern.h"

namespace fathom {
namespace {

// Membership in two loads: code point >> 8 -> block -> bit. All empty blocks are one, and all full ones.
class SetTable {
 public:
  explicit SetTable(const CodePointSet& set) : index_(kNumCodePoints >> 8, kEmpty), blocks_(2) {
    blocks_[kFull].fill(true);
    for (const auto& [first, last] : set.ranges()) {
      for (uint32_t block = first >> 8; block <= last >> 8; ++block) {
        const uint32_t begin = block == first >> 8 ? first & 0xFF : 0, end = block == last >> 8 ? last & 0xFF : 0xFF;
        if (begin == 0 && end == 0xFF) {
          index_[block] = kFull;
          continue;
        }
        if (index_[block] == kEmpty) {
          index_[block] = static_cast<uint16_t>(blocks_.size());
          blocks_.emplace_back();
        }
        auto& bits = blocks_[index_[block]];
        std::fill(bits.begin() + begin, bits.begin() + end + 1, true);
      }
    }
  }
  bool operator[](uint32_t c) const { return blocks_[index_[c >> 8]][c & 0xFF]; }

 private:
  static constexpr uint16_t kEmpty = 0, kFull = 1;
  std::vector<uint16_t> index_;
  std::vector<std::array<bool, 256>> blocks_;
};

class RunMatcher : public SplitPattern {
 public:
  explicit RunMatcher(const RunPattern& run)
      : prefix_(run.prefix.value_or(CodePointSet())), body_(run.body), has_prefix_(run.prefix.has_value()),
        max_count_(run.max_count == 0 ? UINT32_MAX : run.max_count), to_line_end_(run.to_line_end) {}

  std::optional<Match> Find(std::string_view text, size_t from) const override {
    const char* const base = text.data();
    const char* const end = base + text.size();
    const char* p = base + from;
    while (p < end) {
      const char* const start = p;
      const uint32_t c = NextCodePoint(p);
      if (has_prefix_ && prefix_[c] && p < end) {
        const char* next = p;
        if (body_[NextCodePoint(next)]) return Match{Offset(base, start), Offset(base, RunEnd(next, end))};
      }
      if (!body_[c]) continue;
      const char* const run_end = RunEnd(p, end);
      if (!to_line_end_) return Match{Offset(base, start), Offset(base, run_end)};
      if (const char* line_end = LastLineEnd(start, run_end, end)) return Match{Offset(base, start), Offset(base, line_end)};
      p = run_end;  // every later start of this run has the same ends to try, and less of them
    }
    return std::nullopt;
  }

 private:
  static size_t Offset(const char* base, const char* p) { return static_cast<size_t>(p - base); }

  // Behind the characters of the body that follow `p`, one having been taken.
  const char* RunEnd(const char* p, const char* end) const {
    for (uint32_t count = 1; p < end && count < max_count_; ++count) {
      const char* next = p;
      if (!body_[NextCodePoint(next)]) break;
      p = next;
    }
    return p;
  }

  // The last place in (start, run_end] where `$` holds, or nullptr.
  static const char* LastLineEnd(const char* start, const char* run_end, const char* end) {
    for (const char* p = run_end; p > start; --p)
      if (p == end || *p == '\n') return p;
    return nullptr;
  }

  SetTable prefix_, body_;
  bool has_prefix_;
  uint32_t max_count_;
  bool to_line_end_;
};

}  // namespace

std::unique_ptr<SplitPattern> MakeRunPattern(const RunPattern& run) { return std::make_unique<RunMatcher>(run); }

}  // namespace fathom
