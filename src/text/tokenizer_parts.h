// What a tokenizer is made of, whichever file it was read from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/gguf.h"
#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace fathom {

struct TokenizerParts {
  std::vector<std::unique_ptr<Normalizer>> normalizers;  // one after the other
  PreTokenizer pre_tokenizer;
  BpeModel model;
  std::vector<AddedToken> added_tokens;  // ids in the model's vocabulary or behind it
  bool added_tokens_are_literal = false;  // decoded as their text, also where it is of the byte alphabet
  std::vector<DecoderStep> decoder;
  std::vector<int32_t> bos;  // what `add_bos` puts in front
  int32_t bos_id = -1, eos_id = -1;
  bool adds_bos = false;
};

// Throw UserError naming what is wrong or not understood.
TokenizerParts ReadTokenizerJson(std::string_view tokenizer_json, std::string_view tokenizer_config_json);
TokenizerParts ReadTokenizerGguf(const GgufHeader& header);

}  // namespace fathom
