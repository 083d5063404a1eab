// Matchers written by hand for the four patterns that our models' tokenizers use: several times PCRE2's speed, and a test
// holds them against it.
#include <cstddef>
#include <cstdint>

#include "base/utf8.h"
#include "text/split_pattern.h"

namespace fathom {

const char* const kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// The released file has CR and LF as themselves, not as escapes.
const char* const kDeepSeekV3Regex =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

namespace {

// A text with the class of each character at hand.
class Cursor {
 public:
  Cursor(std::string_view text, const uint8_t* classes)
      : base_(text.data()), end_(text.data() + text.size()), classes_(classes) {}

  const char* base() const { return base_; }
  const char* end() const { return end_; }
  // The class of the character at p, which goes behind it. 0 at the end, where p stays.
  uint8_t Next(const char*& p) const {
    if (p == end_) return 0;
    const auto byte = static_cast<unsigned char>(*p);
    if (byte < 0x80) return ++p, classes_[byte];
    return classes_[NextCodePoint(p)];
  }
  // Behind the characters from p on that have a class of `wanted` and none of `unwanted`.
  const char* SkipWhile(const char* p, uint8_t wanted, size_t max_count = SIZE_MAX) const {
    for (size_t count = 0; p < end_ && count < max_count; ++count) {
      const char* next = p;
      if ((Next(next) & wanted) == 0) break;
      p = next;
    }
    return p;
  }
  const char* SkipUnless(const char* p, uint8_t unwanted) const {
    while (p < end_) {
      const char* next = p;
      if ((Next(next) & unwanted) != 0) break;
      p = next;
    }
    return p;
  }
  const char* SkipNewlines(const char* p) const {
    while (p < end_ && (*p == '\r' || *p == '\n')) ++p;
    return p;
  }
  Match To(const char* begin, const char* end) const {
    return {static_cast<size_t>(begin - base_), static_cast<size_t>(end - base_)};
  }
  // \s*[\r\n]+ (with_newlines) | \s+(?!\S) | \s+ at `start`, a space of which `next` is behind the first character.
  Match TakeSpaces(const char* start, const char* next, bool with_newlines) const {
    const char* const run_end = SkipWhile(next, kSpace);
    if (with_newlines)
      for (const char* p = run_end; p > start; --p)
        if (p[-1] == '\n' || p[-1] == '\r') return To(start, p);
    if (run_end == end_ || run_end == next) return To(start, run_end);
    return To(start, PreviousCharacter(run_end));
  }

 private:
  const char* base_;
  const char* end_;
  const uint8_t* classes_;
};

// Behind 's|'t|'re|'ve|'m|'ll|'d at p, or nullptr.
template <bool kAnyCase>
const char* TakeContraction(const char* p, const char* end) {
  if (*p != '\'') return nullptr;
  const auto at = [&](ptrdiff_t i) -> int {
    if (end - p <= i) return 0;
    const int c = static_cast<unsigned char>(p[i]);
    return kAnyCase && c >= 'A' && c <= 'Z' ? c + 32 : c;
  };
  switch (at(1)) {
    case 's': case 't': case 'm': case 'd': return p + 2;
    case 'r': case 'v': return at(2) == 'e' ? p + 3 : nullptr;
    case 'l': return at(2) == 'l' ? p + 3 : nullptr;
    case 0xC5: return kAnyCase && at(2) == 0xBF ? p + 3 : nullptr;  // U+017F folds to s
    default: return nullptr;
  }
}

struct Gpt2 {
  static std::optional<Match> Find(const Cursor& in, const char* p) {
    if (p == in.end()) return std::nullopt;
    if (const char* behind = TakeContraction<false>(p, in.end())) return in.To(p, behind);
    const char* next = p;
    uint8_t kind = in.Next(next);
    if (*p == ' ' && next < in.end()) {
      const char* behind = next;
      const uint8_t following = in.Next(behind);
      if ((following & kSpace) == 0) {
        next = behind;
        kind = following;
      }
    }
    if ((kind & kLetter) != 0) return in.To(p, in.SkipWhile(next, kLetter));
    if ((kind & kNumber) != 0) return in.To(p, in.SkipWhile(next, kNumber));
    if ((kind & kSpace) == 0) return in.To(p, in.SkipUnless(next, kSpace | kLetter | kNumber));
    return in.TakeSpaces(p, next, false);
  }
};

// Llama 3 (numbers of up to three digits) and Qwen2 (single digits).
template <size_t kMaxDigits>
struct Llama3 {
  static std::optional<Match> Find(const Cursor& in, const char* p) {
    if (p == in.end()) return std::nullopt;
    if (const char* behind = TakeContraction<true>(p, in.end())) return in.To(p, behind);
    const char* next = p;
    const uint8_t kind = in.Next(next);
    if ((kind & kLetter) != 0) return in.To(p, in.SkipWhile(next, kLetter));
    if ((kind & kNumber) != 0) return in.To(p, in.SkipWhile(next, kNumber, kMaxDigits - 1));
    const char* behind = next;
    const uint8_t following = in.Next(behind);
    if ((kind & kNewline) == 0 && (following & kLetter) != 0) return in.To(p, in.SkipWhile(behind, kLetter));
    constexpr uint8_t kNotSign = kSpace | kLetter | kNumber;
    if ((kind & kSpace) == 0) return in.To(p, in.SkipNewlines(in.SkipUnless(next, kNotSign)));
    if (*p == ' ' && next < in.end() && (following & kNotSign) == 0)
      return in.To(p, in.SkipNewlines(in.SkipUnless(behind, kNotSign)));
    return in.TakeSpaces(p, next, true);
  }
};

struct DeepSeekV3 {
  static bool IsAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
  static bool IsAsciiSign(char c, uint8_t kind) {
    return static_cast<unsigned char>(c) < 0x80 && (kind & (kPunctuation | kSymbol)) != 0;
  }

  static std::optional<Match> Find(const Cursor& in, const char* p) {
    while (p < in.end()) {
      const char* next = p;
      const uint8_t kind = in.Next(next);
      if ((kind & (kLetter | kMark)) != 0) return in.To(p, in.SkipWhile(next, kLetter | kMark));
      if (IsAsciiSign(*p, kind) && next < in.end() && IsAsciiLetter(*next)) {
        do ++next;
        while (next < in.end() && IsAsciiLetter(*next));
        return in.To(p, next);
      }
      if ((kind & (kPunctuation | kSymbol)) != 0)
        return in.To(p, in.SkipNewlines(in.SkipWhile(next, kPunctuation | kSymbol)));
      const char* behind = next;
      const uint8_t following = in.Next(behind);
      if ((kind & kNewline) == 0 && (following & (kLetter | kMark)) != 0)
        return in.To(p, in.SkipWhile(behind, kLetter | kMark));
      if (*p == ' ' && (following & (kPunctuation | kSymbol)) != 0)
        return in.To(p, in.SkipNewlines(in.SkipWhile(behind, kPunctuation | kSymbol)));
      if ((kind & kSpace) != 0) return in.TakeSpaces(p, next, true);
      p = next;  // a number or a control character: no alternative begins with it
    }
    return std::nullopt;
  }
};

template <typename Family>
class KnownMatcher : public SplitPattern {
 public:
  std::optional<Match> Find(std::string_view text, size_t from) const override {
    return Family::Find(Cursor(text, classes_), text.data() + from);
  }

 private:
  const uint8_t* classes_ = CodePointClasses();
};

}  // namespace

std::unique_ptr<SplitPattern> MakeKnownPattern(std::string_view regex) {
  if (regex == kGpt2Regex) return std::make_unique<KnownMatcher<Gpt2>>();
  if (regex == kLlama3Regex) return std::make_unique<KnownMatcher<Llama3<3>>>();
  if (regex == kQwen2Regex) return std::make_unique<KnownMatcher<Llama3<1>>>();
  if (regex == kDeepSeekV3Regex) return std::make_unique<KnownMatcher<DeepSeekV3>>();
  return nullptr;
}

}  // namespace fathom
