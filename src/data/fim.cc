#include "data/fim.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "base/error.h"
#include "data/random_order.h"

namespace fathom {
namespace {

struct Names {
  const char *begin, *hole, *end;
};
constexpr Names kKnownNames[] = {{"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},          // DeepSeek
                                 {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},  // Qwen 2.5
                                 {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"}};       // StarCoder, SmolLM

// The start of the character that byte `at` belongs to.
size_t CharacterStart(std::string_view text, size_t at) {
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace

FillInMiddle::FillInMiddle(const FimSpec& spec, std::shared_ptr<const Tokenizer> tokenizer) : rate_(spec.rate), tokenizer_(std::move(tokenizer)) {
  if (rate_ == 0) return;
  const auto take = [&](const std::string& begin, const std::string& hole, const std::string& end) {
    begin_ = tokenizer_->TokenToId(begin);
    hole_ = tokenizer_->TokenToId(hole);
    end_ = tokenizer_->TokenToId(end);
    return begin_ >= 0 && hole_ >= 0 && end_ >= 0;
  };
  if (!spec.begin.empty()) {
    FATHOM_USER_CHECK(take(spec.begin, spec.hole, spec.end), "data.fim: the tokenizer has not all of the tokens '{}', '{}' and '{}'", spec.begin, spec.hole, spec.end);
    return;
  }
  for (const Names& names : kKnownNames)
    if (take(names.begin, names.hole, names.end)) return;
  ThrowUserError("data.fim: the tokenizer has no tokens for it; fim.begin, fim.hole and fim.end name others than those of DeepSeek, Qwen and StarCoder");
}

bool FillInMiddle::Chooses(uint64_t bits) const { return rate_ > 0 && UnitOf(RandomBits({bits, 0})) < rate_; }

std::vector<int32_t> FillInMiddle::Rearrange(const std::vector<int32_t>& tokens, uint64_t bits) const {
  std::string text;
  for (const int32_t token : tokens) text += tokenizer_->TokenBytes(token);
  size_t first = CharacterStart(text, BelowOf(RandomBits({bits, 1}), text.size() + 1));
  size_t second = CharacterStart(text, BelowOf(RandomBits({bits, 2}), text.size() + 1));
  if (first > second) std::swap(first, second);
  std::vector<int32_t> out;
  const auto append = [&](int32_t token, std::string_view part) {
    out.push_back(token);
    const std::vector<int32_t> ids = tokenizer_->Encode(part, {.add_bos = false, .match_special = false});
    out.insert(out.end(), ids.begin(), ids.end());
  };
  const std::string_view whole = text;
  append(begin_, whole.substr(0, first));
  append(hole_, whole.substr(second));
  append(end_, whole.substr(first, second - first));
  return out;
}

}  // namespace fathom
