// A tokenizer between its two forms: GGUF's metadata and Hugging Face's tokenizer.json with tokenizer_config.json. Byte-level BPE only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/gguf.h"
#include "base/json.h"

namespace fathom {

// GGUF's token types.
enum class GgufToken : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// What the keys tokenizer.ggml.* and tokenizer.chat_template hold.
struct GgufVocabulary {
  std::string pre;                  // the pre-tokenizer's family: "llama-bpe", "deepseek-v3", ...
  std::vector<std::string> tokens;  // by id
  std::vector<GgufToken> types;
  std::vector<std::string> merges;  // "left right"
  std::optional<int64_t> bos_id, eos_id, pad_id, unk_id;
  bool add_bos = false;
  std::string chat_template;        // "" where there is none
};

// Throws UserError naming the key that is missing or does not fit, and for a tokenizer that is not byte-level BPE.
GgufVocabulary VocabularyFromGguf(const GgufHeader& header);

// From tokenizer.json and tokenizer_config.json (null where there is none); `chat_template` is the text of chat_template.jinja, "" without one. Ids up to
// vocab_size that have no token become unused rows. Throws UserError for a pre-tokenizer that is none of GGUF's families.
GgufVocabulary VocabularyFromHub(const Json& tokenizer, const Json& tokenizer_config, const std::string& chat_template, int64_t vocab_size);

// tokenizer.json: Hugging Face's `tokenizers` loads it and gives the same ids. Throws UserError for a family that is not known.
OrderedJson HubTokenizer(const GgufVocabulary& vocabulary);
// tokenizer_config.json; context: the longest input.
OrderedJson HubTokenizerConfig(const GgufVocabulary& vocabulary, int64_t context);

}  // namespace fathom
