#include "text/unicode_properties.h"

#include <algorithm>
#include <iterator>

namespace fathom {
namespace {

struct PropertyRange {
  uint32_t first;
  uint8_t properties;
};
struct LowercasePair {
  uint32_t upper, lower;
};

#include "text/unicode_properties.inc"

constexpr uint8_t kCategoryMask = 0x1F;
constexpr uint8_t kIsPunctuation = 0x20, kIsNumeric = 0x40, kIsWord = 0x80;
constexpr std::string_view kCategories[] = {"Cn", "Cc", "Cf", "Co", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn",
                                            "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
                                            "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp"};

// Calls f(first, last, properties) for every range.
template <typename F>
void ForEachRange(F f) {
  for (size_t i = 0; i < std::size(kPropertyRanges); ++i) {
    const uint32_t end = i + 1 < std::size(kPropertyRanges) ? kPropertyRanges[i + 1].first : kNumCodePoints;
    f(kPropertyRanges[i].first, end - 1, kPropertyRanges[i].properties);
  }
}

template <typename Predicate>
CodePointSet SetOf(Predicate predicate) {
  CodePointSet set;
  ForEachRange([&](uint32_t first, uint32_t last, uint8_t properties) {
    if (predicate(properties)) set.Add(first, last);
  });
  return set;
}

std::vector<uint8_t> BuildClasses() {
  std::vector<uint8_t> classes(kNumCodePoints, 0);
  ForEachRange([&](uint32_t first, uint32_t last, uint8_t properties) {
    uint8_t value = 0;
    switch (kCategories[properties & kCategoryMask][0]) {
      case 'L': value = kLetter; break;
      case 'M': value = kMark; break;
      case 'N': value = kNumber; break;
      case 'P': value = kPunctuation; break;
      case 'S': value = kSymbol; break;
      default: break;
    }
    std::fill(classes.begin() + first, classes.begin() + last + 1, value);
  });
  for (const auto& [first, last] : CodePointSet::Space().ranges())
    for (uint32_t c = first; c <= last; ++c) classes[c] |= kSpace;
  classes['\r'] |= kNewline;
  classes['\n'] |= kNewline;
  return classes;
}

}  // namespace

const uint8_t* CodePointClasses() {
  static const std::vector<uint8_t> kClasses = BuildClasses();
  return kClasses.data();
}

void CodePointSet::Add(uint32_t first, uint32_t last) {
  // Ranges mostly come in order; then this is an append.
  auto begin = std::lower_bound(ranges_.begin(), ranges_.end(), first,
                                [](const auto& range, uint32_t value) { return range.second + 1 < value; });
  auto end = begin;
  for (; end != ranges_.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->second);
  }
  ranges_.insert(ranges_.erase(begin, end), {first, last});
}

void CodePointSet::Add(const CodePointSet& other) {
  for (const auto& [first, last] : other.ranges_) Add(first, last);
}

CodePointSet CodePointSet::Complement() const {
  CodePointSet complement;
  uint32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) complement.ranges_.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next < kNumCodePoints) complement.ranges_.emplace_back(next, kNumCodePoints - 1);
  return complement;
}

bool CodePointSet::Contains(uint32_t code_point) const {
  const auto it = std::lower_bound(ranges_.begin(), ranges_.end(), code_point,
                                   [](const auto& range, uint32_t value) { return range.second < value; });
  return it != ranges_.end() && it->first <= code_point;
}

std::optional<CodePointSet> CodePointSet::Property(std::string_view name) {
  if (name.size() != 1 && name.size() != 2) return std::nullopt;
  const bool known = std::any_of(std::begin(kCategories), std::end(kCategories),
                                 [&](std::string_view category) { return category.starts_with(name); });
  if (!known) return std::nullopt;
  CodePointSet set = SetOf([&](uint8_t p) { return kCategories[p & kCategoryMask].starts_with(name); });
  return set;
}

const CodePointSet& CodePointSet::Space() {
  static const CodePointSet kSet = [] {
    CodePointSet set = *Property("Z");
    set.Add(0x09, 0x0D);
    set.Add(0x85, 0x85);
    return set;
  }();
  return kSet;
}

const CodePointSet& CodePointSet::Word() {
  static const CodePointSet kSet = SetOf([](uint8_t p) { return (p & kIsWord) != 0; });
  return kSet;
}

const CodePointSet& CodePointSet::Numeric() {
  static const CodePointSet kSet = SetOf([](uint8_t p) { return (p & kIsNumeric) != 0; });
  return kSet;
}

const CodePointSet& CodePointSet::PunctuationMarks() {
  static const CodePointSet kSet = SetOf([](uint8_t p) { return (p & kIsPunctuation) != 0; });
  return kSet;
}

bool IsWordOfAddedTokens(uint32_t code_point) {
  switch (code_point) {
    case 0x200C: case 0x200D: return true;
    case 0xB2: case 0xB3: case 0xB9: case 0xBC: case 0xBD: case 0xBE: return false;
    default: return CodePointSet::Word().Contains(code_point);
  }
}

std::optional<uint32_t> NewerLowercase(uint32_t code_point) {
  for (const LowercasePair& pair : kNewerLowercase)
    if (pair.upper == code_point) return pair.lower;
  return std::nullopt;
}

}  // namespace fathom
