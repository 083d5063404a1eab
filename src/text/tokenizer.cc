#include "text/tokenizer.h"

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/gguf.h"
#include "base/utf8.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_parts.h"

namespace fathom {
namespace {

// Reads the bytes of tokens as UTF-8; only whole characters come out.
class ByteState : public DecodeState {
 public:
  ByteState(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(tokenizer), skip_special_(skip_special) {}
  void Push(int32_t id, std::string& text) override {
    if (!skip_special_ || !tokenizer_.IsSpecial(id)) TakeWholeCharacters(pending_ += tokenizer_.TokenBytes(id), text);
  }
  void Finish(std::string& text) override {
    text += ReplaceInvalidUtf8(pending_);
    pending_.clear();
  }

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string pending_;
};

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
    std::vector<AddedToken> raw, normalized;
    end_id_ = parts_.model.end_id();
    for (AddedToken token : parts_.added_tokens) {
      end_id_ = std::max(end_id_, token.id + 1);
      ids_.emplace(token.content, token.id);
      by_id_.emplace(token.id, token);
      // One that is looked for in normalized text is normalized itself, and decoded so (tokenizers 0.23).
      if (token.normalized) token.content = Normalized(token.content);
      decoded_texts_.emplace(token.id, parts_.added_tokens_are_literal ? AlphabetTextOfBytes(token.content) : token.content);
      (token.normalized ? normalized : raw).push_back(std::move(token));
    }
    raw_matcher_ = AddedTokenMatcher(std::move(raw));
    normalized_matcher_ = AddedTokenMatcher(std::move(normalized));
    for (const int32_t id : parts_.bos)
      FATHOM_USER_CHECK(id < end_id_, "tokenizer: the BOS id {} is no token's, ids end at {}", id, end_id_);
    decodes_bytes_ = std::any_of(parts_.decoder.begin(), parts_.decoder.end(), [](const DecoderStep& step) {
      return std::holds_alternative<ByteLevelDecoder>(step);
    });
  }

  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3 + parts_.bos.size());
    if (options.add_bos) ids = parts_.bos;
    if (IsValidUtf8(text))
      EncodeValid(text, options.match_special, ids);
    else
      EncodeValid(ReplaceInvalidUtf8(text), options.match_special, ids);
    return ids;
  }

  std::string Decode(std::span<const int32_t> ids, bool skip_special) const override {
    const auto state = NewDecodeState(skip_special);
    std::string text;
    for (const int32_t id : ids) state->Push(id, text);
    state->Finish(text);
    return text;
  }

  std::unique_ptr<DecodeState> NewDecodeState(bool skip_special) const override {
    return std::make_unique<State>(*this, skip_special);
  }

  std::string TokenBytes(int32_t id) const override {
    if (const auto it = by_id_.find(id); it != by_id_.end()) return it->second.content;
    std::string text(TextToDecode(id));
    if (decodes_bytes_) {
      auto bytes = BytesOfAlphabetText(text);
      return bytes ? std::move(*bytes) : text;
    }
    // One token through the decoder; what it does to a text's begin must not happen, so something stands before it.
    if (text.size() == 6 && text.starts_with("<0x") && text.back() == '>')
      return std::string(1, static_cast<char>(std::stoi(text.substr(3, 2), nullptr, 16)));
    DecodeStream stream(parts_.decoder);
    std::string before, both;
    stream.Push("a", both);
    before = both;
    stream.Push(text, both);
    stream.Finish(both);
    return both.substr(std::min(both.size(), std::max<size_t>(before.size(), 1)));
  }

  bool IsSpecial(int32_t id) const override {
    const auto it = by_id_.find(id);
    return it != by_id_.end() && it->second.special;
  }
  int64_t vocab_size() const override { return end_id_; }
  int32_t TokenToId(std::string_view token) const override {
    const auto it = ids_.find(std::string(token));
    return it != ids_.end() ? it->second : parts_.model.Find(token);
  }
  int32_t bos_id() const override { return parts_.bos_id; }
  int32_t eos_id() const override { return parts_.eos_id; }
  bool adds_bos() const override { return parts_.adds_bos; }

 private:
  class State : public DecodeState {
   public:
    State(const BpeTokenizer& tokenizer, bool skip_special)
        : tokenizer_(tokenizer), skip_special_(skip_special), stream_(tokenizer.parts_.decoder) {}
    void Push(int32_t id, std::string& text) override {
      const std::string_view token = tokenizer_.TextToDecode(id);
      if (!skip_special_ || !tokenizer_.IsSpecial(id)) stream_.Push(token, text);
    }
    void Finish(std::string& text) override { stream_.Finish(text); }

   private:
    const BpeTokenizer& tokenizer_;
    bool skip_special_;
    DecodeStream stream_;
  };

  void EncodeValid(std::string_view text, bool match_special, std::vector<int32_t>& ids) const {
    std::vector<AddedTokenMatcher::Part> parts;
    raw_matcher_.Split(text, match_special, parts);
    for (const auto& part : parts) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      const std::string_view piece = text.substr(part.begin, part.end - part.begin);
      if (parts_.normalizers.empty())
        EncodeNormalized(piece, part.begin == 0, match_special, ids);
      else
        EncodeNormalized(Normalized(piece), part.begin == 0, match_special, ids);
    }
  }

  void EncodeNormalized(std::string_view text, bool is_first, bool match_special, std::vector<int32_t>& ids) const {
    const auto emit = [&](std::string_view piece) { parts_.model.Encode(piece, ids); };
    if (normalized_matcher_.empty()) return parts_.pre_tokenizer.Run(text, is_first, emit);
    std::vector<AddedTokenMatcher::Part> parts;
    normalized_matcher_.Split(text, match_special, parts);
    for (const auto& part : parts) {
      if (part.id >= 0)
        ids.push_back(part.id);
      else
        parts_.pre_tokenizer.Run(text.substr(part.begin, part.end - part.begin), is_first && part.begin == 0, emit);
    }
  }

  std::string Normalized(std::string_view text) const {
    std::string normalized(text);
    for (const auto& normalizer : parts_.normalizers) normalized = normalizer->Normalize(normalized);
    return normalized;
  }

  // What the decoder is given for a token.
  std::string_view TextToDecode(int32_t id) const {
    if (const auto it = decoded_texts_.find(id); it != decoded_texts_.end()) return it->second;
    const auto text = parts_.model.Text(id);
    FATHOM_USER_CHECK(text.has_value(), "token id {} does not exist, ids go from 0 to {}", id, end_id_ - 1);
    return *text;
  }

  TokenizerParts parts_;
  AddedTokenMatcher raw_matcher_, normalized_matcher_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_map<int32_t, AddedToken> by_id_;
  std::unordered_map<int32_t, std::string> decoded_texts_;  // of added tokens
  int32_t end_id_ = 0;
  bool decodes_bytes_ = false;
};

std::shared_ptr<const Tokenizer> FromGgufFile(const std::filesystem::path& path) {
  const MappedFile file(path);
  return Tokenizer::FromGguf(ParseGgufHeader(file.bytes(), path.string()));
}

bool BeginsLikeGguf(const std::filesystem::path& path) {
  const MappedFile file(path);
  return IsGguf(file.bytes());
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::Load(const std::filesystem::path& path) {
  FATHOM_USER_CHECK(std::filesystem::exists(path), "tokenizer: {} does not exist", path.string());
  std::filesystem::path json = path;
  if (std::filesystem::is_directory(path)) {
    json = path / "tokenizer.json";
    FATHOM_USER_CHECK(std::filesystem::exists(json), "tokenizer: no tokenizer.json in {}", path.string());
  } else if (BeginsLikeGguf(path)) {
    return FromGgufFile(path);
  }
  const std::filesystem::path config = json.parent_path() / "tokenizer_config.json";
  try {
    return FromJson(ReadFile(json), std::filesystem::exists(config) ? ReadFile(config) : std::string());
  } catch (const UserError& error) {
    ThrowUserError("{}: {}", path.string(), error.what());
  }
}

std::shared_ptr<const Tokenizer> Tokenizer::FromJson(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  return std::make_shared<BpeTokenizer>(ReadTokenizerJson(tokenizer_json, tokenizer_config_json));
}

std::shared_ptr<const Tokenizer> Tokenizer::FromGguf(const GgufHeader& header) {
  return std::make_shared<BpeTokenizer>(ReadTokenizerGguf(header));
}

std::unique_ptr<DecodeState> Tokenizer::NewDecodeState(bool skip_special) const {
  return std::make_unique<ByteState>(*this, skip_special);
}

StreamDetokenizer::StreamDetokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)), state_(tokenizer_->NewDecodeState(skip_special)) {}

std::string StreamDetokenizer::Push(int32_t id) {
  std::string text;
  state_->Push(id, text);
  return text;
}

std::string StreamDetokenizer::Finish() {
  std::string text;
  state_->Finish(text);
  return text;
}

}  // namespace fathom
