// A model without mathematics: the next token is a function of the tokens so far. And a tokenizer of bytes.
#pragma once

#include <ATen/ops/full.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/block_pool.h"
#include "engine/step_runner.h"
#include "text/tokenizer.h"

namespace fathom {

class FakeRunner : public StepRunner {
 public:
  // rule(tokens) gives the best next token; every other logit is 0, its own 10. The cache holds the tokens themselves: a page that is shared or
  // overwritten by mistake changes what the rule sees.
  FakeRunner(int64_t vocab_size, std::function<int32_t(const std::vector<int32_t>&)> rule, int64_t num_pages = 2000)
      : vocab_size_(vocab_size), rule_(std::move(rule)), pages_(static_cast<size_t>(num_pages), std::vector<int32_t>(kBlockTokens, kNothing)) {}

  int64_t vocab_size() const override { return vocab_size_; }
  int64_t num_pages() const override { return static_cast<int64_t>(pages_.size()); }
  at::Tensor Run(std::span<const Item> items) override {
    if (fail_next_) {
      fail_next_ = false;
      throw MachineError("the device is gone");
    }
    ++num_steps_;
    std::vector<int32_t> best;
    for (const Item& item : items) {
      const int64_t end = item.first_position + static_cast<int64_t>(item.tokens.size());
      num_run_ += static_cast<int64_t>(item.tokens.size());
      for (int64_t i = item.first_position; i < end; ++i) Slot(item, i) = item.tokens[static_cast<size_t>(i - item.first_position)];
      std::vector<int32_t> tokens;
      for (int64_t i = 0; i < end; ++i) {
        FATHOM_CHECK(Slot(item, i) != kNothing, "position {} was never written", i);
        tokens.push_back(Slot(item, i));
        if (i >= end - item.num_logits) best.push_back(rule_(tokens));
      }
    }
    if (best.empty()) return {};
    at::Tensor logits = at::full({static_cast<int64_t>(best.size()), vocab_size_}, flat_, at::kFloat);
    for (size_t row = 0; row < best.size(); ++row) {
      float* values = logits.mutable_data_ptr<float>() + static_cast<int64_t>(row) * vocab_size_;
      if (best[row] < 0) std::fill_n(values, vocab_size_, std::numeric_limits<float>::quiet_NaN());
      else values[best[row]] = 10.0f;
    }
    return logits;
  }

  // Of four values: how many tokens, their sum, the last one, the pooling.
  std::vector<float> Embed(std::span<const int32_t> tokens, Pooling pooling) override {
    float sum = 0;
    for (const int32_t token : tokens) sum += static_cast<float>(token);
    return {static_cast<float>(tokens.size()), sum, static_cast<float>(tokens.back()), pooling == Pooling::kLast ? 1.0f : 0.0f};
  }

  bool picks_tokens() const override { return picks_tokens_; }
  std::vector<int32_t> RunAndChoose(std::span<const Item> items, std::span<const ops::SampleRow> rows,
                                    const std::function<void()>& before_choice) override {
    const at::Tensor logits_RV = Run(items);
    before_choice();
    if (!logits_RV.defined()) return {};
    ++num_choices_;
    const at::Tensor tokens_R = ops::sample_tokens(logits_RV, rows);
    return {tokens_R.const_data_ptr<int64_t>(), tokens_R.const_data_ptr<int64_t>() + tokens_R.numel()};
  }

  int64_t num_choices() const { return num_choices_; }  // steps whose tokens were chosen here
  int64_t num_run() const { return num_run_; }      // tokens that went through the model
  int64_t num_steps() const { return num_steps_; }
  void MakeFlat() { flat_ = 10.0f; }                // every token is as likely
  void PickTokens() { picks_tokens_ = true; }
  void FailNextStep() { fail_next_ = true; }

 private:
  static constexpr int32_t kNothing = -7;
  int32_t& Slot(const Item& item, int64_t position) {
    const int32_t page = item.pages[static_cast<size_t>(position / kBlockTokens)];
    return pages_.at(static_cast<size_t>(page))[static_cast<size_t>(position % kBlockTokens)];
  }
  int64_t vocab_size_;
  std::function<int32_t(const std::vector<int32_t>&)> rule_;
  float flat_ = 0.0f;
  bool fail_next_ = false, picks_tokens_ = false;
  std::vector<std::vector<int32_t>> pages_;
  int64_t num_run_ = 0, num_steps_ = 0, num_choices_ = 0;
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
