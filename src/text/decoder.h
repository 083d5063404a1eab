// Decoders of tokenizer.json: from the texts of tokens to text. They work on a stream, so that whole decoding and streaming
// are one thing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/split_pattern.h"

namespace fathom {

struct ByteLevelDecoder {};  // the byte alphabet back to bytes, those as UTF-8
struct MetaspaceDecoder {
  std::string replacement;
  bool drop_first = true;  // the replacements of the first token are dropped, not made blanks
};
struct ByteFallbackDecoder {};  // runs of <0xXX> to characters
struct FuseDecoder {};          // all tokens become one text
struct ReplaceDecoder {
  std::shared_ptr<const SplitPattern> pattern;
  std::string content;
};
struct StripDecoder {  // up to `start` and `stop` characters from the ends of a text
  std::string character;
  size_t start = 0, stop = 0;
};
// Nothing: tokens are joined by blanks, as the library does where a tokenizer.json has no decoder.
struct JoinDecoder {};

using DecoderStep =
    std::variant<ByteLevelDecoder, MetaspaceDecoder, ByteFallbackDecoder, FuseDecoder, ReplaceDecoder, StripDecoder, JoinDecoder>;

// The state of one stream. Tokens go in, text that is certain comes out.
class DecodeStream {
 public:
  explicit DecodeStream(const std::vector<DecoderStep>& steps);
  DecodeStream(DecodeStream&&) noexcept;
  ~DecodeStream();
  void Push(std::string_view token, std::string& text);
  void Finish(std::string& text);

  class Stage;

 private:
  std::vector<std::unique_ptr<Stage>> stages_;
};

}  // namespace fathom
