// The normalizer, pre_tokenizer and decoder of tokenizer.json.
#pragma once

#include <memory>
#include <vector>

#include "base/json.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace fathom {

struct PreTokenizerJson {
  std::vector<PreTokenizerStep> steps;
  bool byte_level = false;  // ends in ByteLevel: the model's symbols are bytes
};

// Null values are allowed where the file may have them. Throw UserError naming the type or key that is not supported.
std::vector<std::unique_ptr<Normalizer>> ReadNormalizers(const Json& json);
PreTokenizerJson ReadPreTokenizer(const Json& json);
std::vector<DecoderStep> ReadDecoder(const Json& json);

// Steps of the families that GGUF names ("llama-bpe", "deepseek-v3", ...); all are byte level.
void AddSplit(std::vector<PreTokenizerStep>& steps, const std::string& regex);
void AddDigits(std::vector<PreTokenizerStep>& steps, bool individual);

}  // namespace fathom
