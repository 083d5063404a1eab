// Byte-level BPE tokenizers of the DeepSeek, Llama, Qwen and SmolLM families, identical to Hugging Face's `tokenizers`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct EncodeOptions {
  bool add_bos = false;        // put the BOS (what the post-processor adds) in front
  bool match_special = true;   // false: added tokens marked special are not matched in the text; the others are
};

// The state of decoding one stream of ids.
class DecodeState {
 public:
  virtual ~DecodeState() = default;
  virtual void Push(int32_t id, std::string& text) = 0;  // appends the text that is certain now
  virtual void Finish(std::string& text) = 0;            // appends what is left
};

// Immutable and safe to share between threads.
class Tokenizer {
 public:
  // A folder with tokenizer.json (and tokenizer_config.json), a tokenizer.json, or a GGUF (vocabulary-only ones too). Throws UserError.
  static std::shared_ptr<const Tokenizer> Load(const std::filesystem::path& path);
  // From the text of tokenizer.json and (may be empty) tokenizer_config.json; from a GGUF header.
  static std::shared_ptr<const Tokenizer> FromJson(std::string_view tokenizer_json, std::string_view tokenizer_config_json);
  static std::shared_ptr<const Tokenizer> FromGguf(const struct GgufHeader& header);
  virtual ~Tokenizer() = default;

  // Any bytes; each invalid UTF-8 sequence is read as U+FFFD as Python's errors="replace" does (maximal subparts), then encoded.
  virtual std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const = 0;
  // Text of the ids; unknown ids throw UserError; bytes that are not UTF-8 become U+FFFD (Hugging Face's rule).
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special) const = 0;
  // The raw bytes that one token stands for (special tokens: their text).
  virtual std::string TokenBytes(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
  // Decode, an id at a time. By default the stream of TokenBytes read as UTF-8.
  virtual std::unique_ptr<DecodeState> NewDecodeState(bool skip_special) const;
  virtual int64_t vocab_size() const = 0;  // highest id + 1
  virtual int32_t TokenToId(std::string_view token) const = 0;  // -1: none
  virtual int32_t bos_id() const = 0;  // -1: none
  virtual int32_t eos_id() const = 0;
  virtual bool adds_bos() const = 0;   // as the tokenizer's configuration says: what `--prompt` does
};

// Text from a stream of ids; never gives half a character. The concatenation of all pieces equals Decode of all ids.
class StreamDetokenizer {
 public:
  StreamDetokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special);
  std::string Push(int32_t id);  // the text that is certain now (may be empty)
  std::string Finish();          // what is left (U+FFFD for a torn character)

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<DecodeState> state_;
};

}  // namespace fathom
