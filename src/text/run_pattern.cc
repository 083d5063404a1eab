#include <array>
#include <bitset>
#include <map>
#include <vector>

#include "base/utf8.h"
#include "text/split_pattern.h"

namespace fathom {
namespace {

// Membership in two loads: code point >> 8 -> block -> bit. Equal blocks are kept once.
class SetTable {
 public:
  explicit SetTable(const CodePointSet& set) {
    using Block = std::bitset<256>;
    std::vector<Block> all(kNumCodePoints >> 8);
    for (const auto& [first, last] : set.ranges())
      for (uint32_t c = first; c <= last; ++c) all[c >> 8].set(c & 0xFF);
    std::map<std::string, uint16_t> seen;
    index_.reserve(all.size());
    for (const Block& block : all) {
      const auto [it, is_new] = seen.emplace(block.to_string(), static_cast<uint16_t>(blocks_.size()));
      if (is_new) {
        std::array<bool, 256> bits{};
        for (size_t i = 0; i < 256; ++i) bits[i] = block[i];
        blocks_.push_back(bits);
      }
      index_.push_back(it->second);
    }
  }
  bool operator[](uint32_t c) const { return blocks_[index_[c >> 8]][c & 0xFF]; }

 private:
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
