// What Hugging Face's `tokenizers` thinks of every code point: the tables of its regex engine (Oniguruma), of its Digits and
// Punctuation pre-tokenizers and its Lowercase. They are of different ages of Unicode, so they are generated from the library.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

constexpr uint32_t kNumCodePoints = 0x110000;

// Classes of a code point, as the pre-tokenizers' regexes name them.
enum CodePointClass : uint8_t {
  kLetter = 1,       // \p{L}
  kMark = 2,         // \p{M}
  kNumber = 4,       // \p{N}
  kPunctuation = 8,  // \p{P}
  kSymbol = 16,      // \p{S}
  kSpace = 32,       // \s
  kNewline = 64,     // CR or LF
};

// [kNumCodePoints] bit sets of CodePointClass, built on first use.
const uint8_t* CodePointClasses();

// A set of code points as sorted ranges [first, last] that do not touch.
class CodePointSet {
 public:
  CodePointSet() = default;
  void Add(uint32_t first, uint32_t last);
  void Add(const CodePointSet& other);
  CodePointSet Complement() const;
  bool Contains(uint32_t code_point) const;
  const std::vector<std::pair<uint32_t, uint32_t>>& ranges() const { return ranges_; }

  // \p{name}: a general category ("Lu") or its first letter ("L"). Nothing for other names.
  static std::optional<CodePointSet> Property(std::string_view name);
  static const CodePointSet& Space();    // \s
  static const CodePointSet& Word();     // \w
  static const CodePointSet& Numeric();  // of the Digits pre-tokenizer
  static const CodePointSet& PunctuationMarks();  // of the Punctuation pre-tokenizer

 private:
  std::vector<std::pair<uint32_t, uint32_t>> ranges_;
};

// \w as the added tokens' single_word has it (Rust's regex: joiners are in, superscripts and fractions out).
bool IsWordOfAddedTokens(uint32_t code_point);

// The lower case of one code point where it is newer than the ICU in use may know; otherwise nothing.
std::optional<uint32_t> NewerLowercase(uint32_t code_point);

}  // namespace fathom
