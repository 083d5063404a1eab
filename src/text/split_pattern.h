// Regular expressions of pre-tokenizers and normalizers, with the meaning that Oniguruma (Ruby syntax) gives them, since that
// is the engine of Hugging Face's `tokenizers`: `^` and `$` match at lines, \s \w \p{..} are Unicode sets of its tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "text/unicode_properties.h"

namespace fathom {

struct Match {
  size_t begin = 0, end = 0;
};

// Finds matches in valid UTF-8. Immutable and safe to share between threads.
class SplitPattern {
 public:
  virtual ~SplitPattern() = default;
  // The first match at or behind `from` (a character's start); what stands before it counts for lookbehind and `^`.
  virtual std::optional<Match> Find(std::string_view text, size_t from) const = 0;

  // A matcher of `regex`: one written by hand where the pattern is known or a plain run of one set, else PCRE2's JIT.
  // Throws UserError naming the construct that is not supported.
  static std::unique_ptr<SplitPattern> FromRegex(std::string_view regex);
  // The general path alone (to test that both agree).
  static std::unique_ptr<SplitPattern> FromRegexGeneral(std::string_view regex);
  // Every occurrence of a text that is not empty.
  static std::unique_ptr<SplitPattern> FromText(std::string_view text);
};

// prefix? body{1,max_count} (max_count 0: any number), with `to_line_end` followed by `$`.
struct RunPattern {
  std::optional<CodePointSet> prefix;
  CodePointSet body;
  uint32_t max_count = 0;
  bool to_line_end = false;
};
std::unique_ptr<SplitPattern> MakeRunPattern(const RunPattern& run);

// The hand-written matcher of a pattern known to the letter (GPT-2, Llama 3, Qwen2, DeepSeek-V3), or nullptr.
std::unique_ptr<SplitPattern> MakeKnownPattern(std::string_view regex);

// Patterns of the families, as the released tokenizer.json files have them.
extern const char* const kGpt2Regex;
extern const char* const kLlama3Regex;
extern const char* const kQwen2Regex;
extern const char* const kDeepSeekV3Regex;

}  // namespace fathom
