// A model without mathematics: the next token is a function of the tokens so far. And a tokenizer of bytes.
#pragma once

#include <ATen/ops/full.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/runner.h"
#include "text/tokenizer.h"

namespace fathom {

class FakeRunner : public Runner {
 public:
  // rule(tokens) gives the best next token; every other logit is 0, its own 10.
  FakeRunner(int64_t vocab_size, std::function<int32_t(const std::vector<int32_t>&)> rule, int64_t max_tokens = 100000)
      : vocab_size_(vocab_size), rule_(std::move(rule)), max_tokens_(max_tokens) {}

  int64_t vocab_size() const override { return vocab_size_; }
  int64_t max_sequence_tokens() const override { return max_tokens_; }
  int32_t NewSequence() override {
    sequences_[next_] = {};
    return next_++;
  }
  void FreeSequence(int32_t sequence) override { FATHOM_CHECK(sequences_.erase(sequence) == 1, "no sequence {}", sequence); }
  std::vector<int32_t> Fork(int32_t sequence, int64_t count) override {
    std::vector<int32_t> children;
    for (int64_t i = 0; i < count; ++i) {
      sequences_[next_] = sequences_.at(sequence);
      children.push_back(next_++);
    }
    return children;
  }
  int64_t Truncate(int32_t sequence, int64_t length) override {
    sequences_.at(sequence).resize(length);
    return length;
  }
  const std::vector<int32_t>& Tokens(int32_t sequence) const override { return sequences_.at(sequence); }
  at::Tensor Run(const std::vector<Item>& items, bool want_logits) override {
    at::Tensor logits = at::full({static_cast<int64_t>(items.size()), vocab_size_}, flat_, at::kFloat);
    for (size_t i = 0; i < items.size(); ++i) {
      auto& tokens = sequences_.at(items[i].sequence);
      tokens.insert(tokens.end(), items[i].tokens.begin(), items[i].tokens.end());
      num_run_ += static_cast<int64_t>(items[i].tokens.size());
      FATHOM_CHECK(static_cast<int64_t>(tokens.size()) <= max_tokens_, "{} tokens", tokens.size());
      if (want_logits) logits.mutable_data_ptr<float>()[static_cast<int64_t>(i) * vocab_size_ + rule_(tokens)] = 10.0f;
    }
    return want_logits ? logits : at::Tensor();
  }

  int64_t num_sequences() const { return static_cast<int64_t>(sequences_.size()); }
  int64_t num_run() const { return num_run_; }  // tokens that went through the model
  void MakeFlat() { flat_ = 10.0f; }            // every token is as likely

 private:
  int64_t vocab_size_;
  std::function<int32_t(const std::vector<int32_t>&)> rule_;
  int64_t max_tokens_;
  float flat_ = 0.0f;
  std::map<int32_t, std::vector<int32_t>> sequences_;
  int32_t next_ = 0;
  int64_t num_run_ = 0;
};

// Ids 0 to 255 are bytes, 256 is the end token (special).
class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kEnd = 256;
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 256 || !skip_special) text += TokenBytes(id);
    }
    return text;
  }
  std::string TokenBytes(int32_t id) const override { return id == kEnd ? "<end>" : std::string(1, static_cast<char>(id)); }
  bool IsSpecial(int32_t id) const override { return id == kEnd; }
  int64_t vocab_size() const override { return 257; }
  int32_t TokenToId(std::string_view token) const override { return token == "<end>" ? kEnd : -1; }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return kEnd; }
  bool adds_bos() const override { return false; }
};

}  // namespace fathom
