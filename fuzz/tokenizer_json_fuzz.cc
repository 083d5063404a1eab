// Any bytes as a tokenizer.json: read, and then able to encode and decode, or refused with a UserError.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fathom::SetLogLevel("off");
  try {
    const auto tokenizer = fathom::Tokenizer::FromJson({reinterpret_cast<const char*>(data), size}, "");
    const auto ids = tokenizer->Encode("a b 12's  \n\xE4\xB8\xAD ab<s>", {.add_bos = true});
    tokenizer->Decode(ids, true);
    for (const int32_t id : ids) tokenizer->TokenBytes(id);
  } catch (const fathom::UserError&) {
  }
  return 0;
}
