// Any bytes as a text: ids that decode to the text (invalid UTF-8 as U+FFFD), streamed as well as whole. The first byte picks
// the family and whether special tokens are matched.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/gguf.h"
#include "base/utf8.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"

namespace {

std::vector<std::shared_ptr<const fathom::Tokenizer>> MakeTokenizers() {
  fathom::GgufHeader header;
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(fathom::AlphabetTextOfBytes(std::string(1, static_cast<char>(byte))));
  std::vector<int64_t> types(256, 1);
  const std::vector<std::string> merges = {"a b", "ab c", "a a", "aa aa", "\u0120 \u0120", "\u0120 a", "\u00C3 \u00A9", "1 2"};
  for (const std::string& merge : merges) {
    const size_t blank = merge.find(' ', 1);
    tokens.push_back(merge.substr(0, blank) + merge.substr(blank + 1));
    types.push_back(1);
  }
  for (const char* text : {"<s>", "<think>", "<s><s>", "\u00FC"}) {
    tokens.emplace_back(text);
    types.push_back(text[0] == '<' && text[1] == 's' ? 3 : 4);
  }
  header.metadata = {{"tokenizer.ggml.model", std::string("gpt2")}, {"tokenizer.ggml.tokens", tokens},
                     {"tokenizer.ggml.token_type", types}, {"tokenizer.ggml.merges", merges}};
  std::vector<std::shared_ptr<const fathom::Tokenizer>> tokenizers;
  for (const char* pre : {"gpt-2", "llama-bpe", "smollm", "deepseek-v3", "deepseek-llm", "deepseek-coder", "default"}) {
    header.metadata["tokenizer.ggml.pre"] = std::string(pre);
    tokenizers.push_back(fathom::Tokenizer::FromGguf(header));
  }
  return tokenizers;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto kTokenizers = MakeTokenizers();
  if (size == 0) return 0;
  const auto& tokenizer = kTokenizers[data[0] % kTokenizers.size()];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string expected = fathom::ReplaceInvalidUtf8(text);
  const auto ids = tokenizer->Encode(text, {.match_special = data[0] < 128});
  if (tokenizer->Decode(ids, false) != expected) std::abort();
  fathom::StreamDetokenizer stream(tokenizer, false);
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string piece = stream.Push(id);
    if (!fathom::IsValidUtf8(piece)) std::abort();
    streamed += piece;
  }
  if (streamed + stream.Finish() != expected) std::abort();
  return 0;
}
