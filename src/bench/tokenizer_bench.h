// Speed of a tokenizer on a text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace fathom {

struct TokenizerBenchResult {
  double seconds = 0;      // of encoding, the best of three runs
  double mb_per_s = 0;     // 10^6 bytes of text a second, all threads together
  double tokens_per_s = 0;
  int64_t num_tokens = 0;  // of all of the text
  double load_seconds = 0;
};

// Encodes `text` with the tokenizer at `path` (as Tokenizer::Load). With more than one thread the text is cut at line ends into a
// part a thread. Throws UserError for a tokenizer that cannot be read or an empty text.
TokenizerBenchResult BenchTokenizer(const std::filesystem::path& path, std::string_view text, int threads);

}  // namespace fathom
