// Tokenizers between their forms: a GGUF's metadata to tokenizer.json, or (text) a tokenizer.json to GGUF's keys and back.
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/gguf.h"
#include "base/json.h"
#include "base/log.h"
#include "text/gguf_vocabulary.h"

namespace {

void Run(std::span<const std::byte> bytes) {
  if (fathom::IsGguf(bytes)) {
    const fathom::GgufVocabulary vocabulary = fathom::VocabularyFromGguf(fathom::ParseGgufHeader(bytes, "fuzz"));
    fathom::HubTokenizer(vocabulary);
    fathom::HubTokenizerConfig(vocabulary, 128);
    return;
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const fathom::Json json = fathom::ParseJson(text, "fuzz");
  if (json.is_object()) fathom::HubTokenizer(fathom::VocabularyFromHub(json, json.value("config", fathom::Json()), "", 16));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fathom::SetLogLevel("off");
  try {
    Run(std::as_bytes(std::span(data, size)));
  } catch (const fathom::UserError&) {
  }
  return 0;
}
