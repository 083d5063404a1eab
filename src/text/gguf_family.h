// The pre-tokenizers that GGUF knows by a family's name, written as tokenizer.json has them.
#pragma once

#include <string>

#include "base/json.h"

namespace fathom {

struct GgufFamily {
  OrderedJson pre_tokenizer;  // a Sequence that ends in ByteLevel
  OrderedJson normalizer;     // null: none
  bool ignore_merges = false;
  bool adds_bos = false;      // where the file does not say
};

// Throws UserError for a name that is not known.
GgufFamily FamilyOfGguf(const std::string& pre);

// The family whose steps a tokenizer.json has; "" when it is none of them.
std::string FamilyNameOf(const Json& pre_tokenizer);

}  // namespace fathom
