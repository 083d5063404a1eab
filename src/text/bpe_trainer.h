// Training of byte-level BPE (Sennrich et al., arXiv 1508.07909): the most frequent pair of neighbouring symbols becomes a token, again and again. The merges
// are those of BpeTrainer of Hugging Face's `tokenizers` 0.2x on the same texts: of equally frequent pairs the one with the lower ids goes first; a token
// that two pairs spell is one token.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/gguf_vocabulary.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace fathom {

// How often each word (a piece of the pre-tokenizer, in bytes) stands in texts.
class WordCounts {
 public:
  void Add(std::string_view word, int64_t count);
  void Merge(const WordCounts& other);
  int64_t size() const { return static_cast<int64_t>(counts_.size()); }
  // In the order of the bytes, so that what follows does not depend on the order of counting.
  std::vector<std::pair<std::string_view, int64_t>> Sorted() const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
  };
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> counts_;
};

// Cuts texts into words as a family's normalizer and pre-tokenizer do ("deepseek-v3", "gpt-2", "llama-bpe", "qwen2", ...). Safe to share between threads.
class WordSplitter {
 public:
  // Throws UserError for a family that is not known.
  explicit WordSplitter(const std::string& family);
  void Count(std::string_view text, WordCounts& counts) const;  // valid UTF-8

 private:
  std::vector<std::unique_ptr<Normalizer>> normalizers_;
  PreTokenizer pre_tokenizer_;
};

// DeepSeek-V3's names of what training, fill in the middle and chat need: begin, end and padding first.
const std::vector<std::string>& DefaultSpecialTokens();

struct BpeTrainerOptions {
  int64_t vocab_size = 0;                   // special tokens and the 256 bytes included
  int64_t min_frequency = 0;                // a pair that is rarer is not merged
  std::vector<std::string> special_tokens;  // the first ids, in this order
  std::function<void(int64_t)> progress;    // is told the size of the vocabulary now and then
};

struct TrainedBpe {
  std::vector<std::string> tokens;                   // by id, in the byte alphabet: special tokens, the bytes, then the merged ones
  std::vector<std::pair<int32_t, int32_t>> merges;   // ids of the two parts, in the order of their ranks
};

// Throws UserError where vocab_size has no room for the special tokens and bytes.
TrainedBpe TrainBpe(const WordCounts& words, const BpeTrainerOptions& options);

// The tokenizer of the result, for HubTokenizer and HubTokenizerConfig. BOS, EOS and padding are special tokens' texts; "" for none.
GgufVocabulary VocabularyOf(const TrainedBpe& trained, const std::string& family, const std::vector<std::string>& special_tokens, const std::string& bos,
                            const std::string& eos, const std::string& pad);

}  // namespace fathom
