// Normalizers of tokenizer.json: what is done to the text before it is split. All give valid UTF-8 for valid UTF-8.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/split_pattern.h"

namespace fathom {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string Normalize(std::string_view text) const = 0;
};

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// Code points newer than the Unicode of Hugging Face's tables are left as they are, as there.
std::unique_ptr<Normalizer> MakeUnicodeNormalizer(UnicodeForm form);
std::unique_ptr<Normalizer> MakeLowercase();
std::unique_ptr<Normalizer> MakeStrip(bool left, bool right);
// Puts `text` before every text that is not empty.
std::unique_ptr<Normalizer> MakePrepend(std::string text);
std::unique_ptr<Normalizer> MakeReplace(std::unique_ptr<SplitPattern> pattern, std::string content);

// Every match of `pattern` in `text` replaced by `content`.
std::string ReplaceMatches(const SplitPattern& pattern, std::string_view text, std::string_view content);

}  // namespace fathom
