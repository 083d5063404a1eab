#include "text/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "text/regex_translation.h"

namespace fathom {
namespace {

struct PcreDeleter {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};
template <typename T>
using PcrePointer = std::unique_ptr<T, PcreDeleter>;

// What a match needs to write to: one set a thread.
struct MatchScratch {
  PcrePointer<pcre2_match_data> data{pcre2_match_data_create(1, nullptr)};
  PcrePointer<pcre2_match_context> context{pcre2_match_context_create(nullptr)};
  PcrePointer<pcre2_jit_stack> stack{pcre2_jit_stack_create(32 * 1024, 64 * 1024 * 1024, nullptr)};
  MatchScratch() { pcre2_jit_stack_assign(context.get(), nullptr, stack.get()); }
};

class PcrePattern : public SplitPattern {
 public:
  explicit PcrePattern(std::string_view regex) : regex_(regex) {
    const std::string translated = TranslateRegex(regex);
    const PcrePointer<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE, &error, &offset, context.get()));
    if (code_ == nullptr) {
      PCRE2_UCHAR message[256];
      pcre2_get_error_message(error, message, sizeof message);
      ThrowUserError("regex '{}': {}", regex, reinterpret_cast<const char*>(message));
    }
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without a JIT the interpreter runs
  }

  std::optional<Match> Find(std::string_view text, size_t from) const override {
    static thread_local MatchScratch scratch;
    const int rc = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                               PCRE2_NO_UTF_CHECK, scratch.data.get(), scratch.context.get());
    if (rc == PCRE2_ERROR_NOMATCH) return std::nullopt;
    FATHOM_USER_CHECK(rc >= 0, "regex '{}' needs too much time or memory on this text (PCRE2 error {})", regex_, rc);
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(scratch.data.get());
    return Match{offsets[0], offsets[1]};
  }

 private:
  std::string regex_;
  PcrePointer<pcre2_code> code_;
};

class TextPattern : public SplitPattern {
 public:
  explicit TextPattern(std::string_view text) : text_(text) {}
  std::optional<Match> Find(std::string_view text, size_t from) const override {
    const size_t at = text.find(text_, from);
    if (at == std::string_view::npos) return std::nullopt;
    return Match{at, at + text_.size()};
  }

 private:
  std::string text_;
};

}  // namespace

std::unique_ptr<SplitPattern> SplitPattern::FromRegex(std::string_view regex) {
  if (auto known = MakeKnownPattern(regex)) return known;
  if (const auto run = ParseRunPattern(regex)) return MakeRunPattern(*run);
  return FromRegexGeneral(regex);
}

std::unique_ptr<SplitPattern> SplitPattern::FromRegexGeneral(std::string_view regex) {
  return std::make_unique<PcrePattern>(regex);
}

std::unique_ptr<SplitPattern> SplitPattern::FromText(std::string_view text) {
  FATHOM_USER_CHECK(!text.empty(), "a text pattern must not be empty");
  return std::make_unique<TextPattern>(text);
}

}  // namespace fathom
