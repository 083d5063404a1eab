// Tokenizers in GGUF metadata: the vocabulary and merges stand there, the pre-tokenizer only as the name of its family.
#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/gguf_family.h"
#include "text/pipeline_json.h"
#include "text/tokenizer_parts.h"

namespace fathom {
namespace {

enum GgufTokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Family {
  std::vector<PreTokenizerStep> steps;
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;  // where the file does not say
};

bool IsOneOf(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The families as the tokenizer.json files of their models have them; `default` as llama.cpp means it.
Family MakeFamily(const std::string& name) {
  Family family;
  auto& steps = family.steps;
  if (IsOneOf(name, {"gpt-2", "gpt2"})) {
    AddSplit(steps, kGpt2Regex);
  } else if (IsOneOf(name, {"llama-bpe", "llama3", "llama-v3"})) {
    AddSplit(steps, kLlama3Regex);
    family.ignore_merges = true;
    family.adds_bos = true;
  } else if (IsOneOf(name, {"qwen2", "deepseek-r1-qwen"})) {
    AddSplit(steps, kQwen2Regex);
    family.nfc = true;
  } else if (name == "smollm") {
    AddDigits(steps, true);
    AddSplit(steps, kGpt2Regex);
  } else if (name == "deepseek-v3") {
    AddSplit(steps, R"(\p{N}{1,3})");
    AddSplit(steps, "[一-龥\u3040-ゟ゠-ヿ]+");
    AddSplit(steps, kDeepSeekV3Regex);
  } else if (name == "deepseek-llm") {
    AddSplit(steps, R"([\r\n])");
    AddSplit(steps, kDeepSeekLlmLetters);
    AddSplit(steps, "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+");
    AddSplit(steps, R"(\s+$)");
    AddSplit(steps, "[一-龥ࠀ-一가-\uD7FF]+");
    AddDigits(steps, true);
  } else if (name == "deepseek-coder") {
    AddSplit(steps, R"([\r\n])");
    AddSplit(steps, R"(\s?\p{L}+)");
    AddSplit(steps, R"(\s?\p{P}+)");
    AddSplit(steps, "[一-龥ࠀ-一가-\uD7FF]+");
    AddDigits(steps, true);
  } else if (name == "default") {
    AddSplit(steps, R"([\p{P}\$\+<=>\^~\|]+)");
    AddSplit(steps, R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))");
    AddSplit(steps, R"(\p{N}+)");
    AddSplit(steps, "[0-9][0-9][0-9]");
  } else {
    ThrowUserError("GGUF key 'tokenizer.ggml.pre': the pre-tokenizer '{}' is not supported", name);
  }
  return family;
}

// A row that a converter added to fill the embedding: "[PAD123]" at id 123.
bool IsFiller(const std::string& text, size_t id) { return text == fmt::format("[PAD{}]", id); }

int32_t TokenIdOf(const GgufHeader& header, const char* key, size_t num_tokens) {
  if (header.Find(key) == nullptr) return -1;
  const int64_t id = header.GetInt(key);
  FATHOM_USER_CHECK(id >= -1 && id < static_cast<int64_t>(num_tokens), "GGUF key '{}' must be a token's id below {}, got {}",
                    key, num_tokens, id);
  return static_cast<int32_t>(id);
}

bool FlagOf(const GgufHeader& header, const char* key, bool fallback) {
  const GgufValue* value = header.Find(key);
  if (value == nullptr) return fallback;
  FATHOM_USER_CHECK(std::holds_alternative<bool>(*value), "GGUF key '{}' must be a bool", key);
  return std::get<bool>(*value);
}

std::vector<std::pair<std::string, std::string>> ReadMerges(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(texts.size());
  for (const std::string& text : texts) {
    // No token of a byte-level vocabulary holds a blank; the first character may be anything.
    const size_t blank = text.find(' ', 1);
    FATHOM_USER_CHECK(blank != std::string::npos && blank + 1 < text.size(),
                      "GGUF key 'tokenizer.ggml.merges': merge {} ('{}') must be two tokens with a blank between",
                      merges.size(), text);
    merges.emplace_back(text.substr(0, blank), text.substr(blank + 1));
  }
  return merges;
}

}  // namespace

TokenizerParts ReadTokenizerGguf(const GgufHeader& header) {
  const std::string& kind = header.GetString("tokenizer.ggml.model");
  FATHOM_USER_CHECK(kind == "gpt2", "GGUF key 'tokenizer.ggml.model': the kind '{}' is not supported, only gpt2", kind);
  const auto& texts = header.GetStrings("tokenizer.ggml.tokens");
  const auto& types = header.GetInts("tokenizer.ggml.token_type");
  FATHOM_USER_CHECK(types.size() == texts.size(), "GGUF: {} tokens but {} token types", texts.size(), types.size());
  Family family = MakeFamily(header.Find("tokenizer.ggml.pre") ? header.GetString("tokenizer.ggml.pre") : "default");
  if (FlagOf(header, "tokenizer.ggml.add_space_prefix", false))
    family.steps.emplace(family.steps.begin(), std::in_place_type<PrefixSpaceStep>);

  std::vector<std::pair<std::string, int32_t>> tokens;
  std::vector<AddedToken> added;
  tokens.reserve(texts.size());
  for (size_t id = 0; id < texts.size(); ++id) {
    FATHOM_USER_CHECK(types[id] >= kNormal && types[id] <= kByte, "GGUF: token {} has the unknown type {}", id, types[id]);
    const bool is_added = types[id] == kControl || types[id] == kUserDefined || types[id] == kUnknown;
    // Texts of added tokens are plain, those of the others are in the byte alphabet: one text may stand for two ids.
    if (is_added && !IsFiller(texts[id], id))
      added.push_back({.id = static_cast<int32_t>(id), .content = texts[id], .special = types[id] != kUserDefined});
    else
      tokens.emplace_back(texts[id], static_cast<int32_t>(id));
  }
  BpeOptions options{.byte_level = true, .ignore_merges = family.ignore_merges, .unk_token = std::nullopt};
  TokenizerParts parts{.normalizers = {},
                       .pre_tokenizer = PreTokenizer(std::move(family.steps)),
                       .model = BpeModel(tokens, ReadMerges(header.GetStrings("tokenizer.ggml.merges")), options),
                       .added_tokens = std::move(added),
                       .added_tokens_are_literal = true,
                       .decoder = {ByteLevelDecoder{}},
                       .bos = {}};
  if (family.nfc) parts.normalizers.push_back(MakeUnicodeNormalizer(UnicodeForm::kNfc));
  parts.bos_id = TokenIdOf(header, "tokenizer.ggml.bos_token_id", texts.size());
  parts.eos_id = TokenIdOf(header, "tokenizer.ggml.eos_token_id", texts.size());
  if (parts.bos_id >= 0) parts.bos = {parts.bos_id};
  parts.adds_bos = FlagOf(header, "tokenizer.ggml.add_bos_token", family.adds_bos) && parts.bos_id >= 0;
  return parts;
}

}  // namespace fathom
