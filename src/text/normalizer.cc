#include "text/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {
namespace {

// The age of the normalization tables in Hugging Face's library.
constexpr char kKnownCharacters[] = "[:age=9.0:]";

bool IsAscii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

const icu::Normalizer2* FormOf(UnicodeForm form, UErrorCode& status) {
  switch (form) {
    case UnicodeForm::kNfc: return icu::Normalizer2::getNFCInstance(status);
    case UnicodeForm::kNfd: return icu::Normalizer2::getNFDInstance(status);
    case UnicodeForm::kNfkc: return icu::Normalizer2::getNFKCInstance(status);
    case UnicodeForm::kNfkd: return icu::Normalizer2::getNFKDInstance(status);
  }
  return nullptr;
}

const icu::UnicodeSet& KnownCharacters(UErrorCode& status) {
  static const icu::UnicodeSet kSet = [&] {
    icu::UnicodeSet set(icu::UnicodeString(kKnownCharacters), status);
    set.freeze();
    return set;
  }();
  return kSet;
}

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(UnicodeForm form) {
    UErrorCode status = U_ZERO_ERROR;
    const icu::UnicodeSet& known = KnownCharacters(status);
    const icu::Normalizer2* all = FormOf(form, status);
    if (U_FAILURE(status)) ThrowMachineError("ICU has no normalization data: {}", u_errorName(status));
    normalizer_ = std::make_unique<icu::FilteredNormalizer2>(*all, known);
  }

  std::string Normalize(std::string_view text) const override {
    std::string out;
    if (IsAscii(text)) return out = text;
    out.reserve(text.size());
    icu::StringByteSink<std::string> sink(&out);
    UErrorCode status = U_ZERO_ERROR;
    normalizer_->normalizeUTF8(0, {text.data(), static_cast<int32_t>(text.size())}, sink, nullptr, status);
    if (U_FAILURE(status)) ThrowMachineError("Unicode normalization failed: {}", u_errorName(status));
    return out;
  }

 private:
  std::unique_ptr<icu::FilteredNormalizer2> normalizer_;
};

class Lowercase : public Normalizer {
 public:
  std::string Normalize(std::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (const char* p = text.data(); p < text.data() + text.size();) {
      const uint32_t c = NextCodePoint(p);
      if (c == 0x130) {  // the one letter whose lower case is two code points
        out += "i\xCC\x87";
      } else if (const auto newer = c < 0x1C89 ? std::nullopt : NewerLowercase(c)) {
        AppendUtf8(out, *newer);
      } else {
        AppendUtf8(out, static_cast<uint32_t>(u_tolower(static_cast<UChar32>(c))));
      }
    }
    return out;
  }
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  std::string Normalize(std::string_view text) const override {
    const uint8_t* classes = CodePointClasses();
    const char* begin = text.data();
    const char* end = begin + text.size();
    for (const char* next = begin; left_ && begin < end; begin = next)
      if ((classes[NextCodePoint(next)] & kSpace) == 0) break;
    while (right_ && begin < end) {
      const char* previous = PreviousCharacter(end);
      const char* p = previous;
      if ((classes[NextCodePoint(p)] & kSpace) == 0) break;
      end = previous;
    }
    return std::string(begin, end);
  }

 private:
  bool left_, right_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string text) : text_(std::move(text)) {}
  std::string Normalize(std::string_view text) const override {
    return text.empty() ? std::string() : text_ + std::string(text);
  }

 private:
  std::string text_;
};

class Replace : public Normalizer {
 public:
  Replace(std::unique_ptr<SplitPattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::string Normalize(std::string_view text) const override { return ReplaceMatches(*pattern_, text, content_); }

 private:
  std::unique_ptr<SplitPattern> pattern_;
  std::string content_;
};

}  // namespace

std::unique_ptr<Normalizer> MakeUnicodeNormalizer(UnicodeForm form) { return std::make_unique<UnicodeNormalizer>(form); }
std::unique_ptr<Normalizer> MakeLowercase() { return std::make_unique<Lowercase>(); }
std::unique_ptr<Normalizer> MakeStrip(bool left, bool right) { return std::make_unique<Strip>(left, right); }
std::unique_ptr<Normalizer> MakePrepend(std::string text) { return std::make_unique<Prepend>(std::move(text)); }
std::unique_ptr<Normalizer> MakeReplace(std::unique_ptr<SplitPattern> pattern, std::string content) {
  return std::make_unique<Replace>(std::move(pattern), std::move(content));
}

std::string ReplaceMatches(const SplitPattern& pattern, std::string_view text, std::string_view content) {
  std::string out;
  size_t done = 0;
  for (size_t from = 0; from <= text.size();) {
    const auto match = pattern.Find(text, from);
    if (!match) break;
    out.append(text.substr(done, match->begin - done));
    out.append(content);
    done = match->end;
    from = match->end;
    if (match->begin != match->end) continue;
    // An empty match: the character behind it stays, and the search goes on behind that.
    if (done == text.size()) break;
    const char* p = text.data() + done;
    NextCodePoint(p);
    from = static_cast<size_t>(p - text.data());
    out.append(text.substr(done, from - done));
    done = from;
  }
  out.append(text.substr(done));
  return out;
}

}  // namespace fathom
