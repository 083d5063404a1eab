// What the engine asks of a model: one forward over the tokens of a step, whose keys and values lie in numbered pages. PagedRunner runs a real
// model; tests put a fake behind it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ops/sample/sample.h"

namespace fathom {

// How the rows of a text become one: their mean, or the last, which has seen all of it.
enum class Pooling { kMean, kLast };

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t num_pages() const = 0;

  // The next tokens of one sequence: `tokens` stand at positions first_position and on, everything before them is in `pages`, which have room for
  // them too. Logits are wanted of the last `num_logits` tokens.
  struct Item {
    std::span<const int32_t> tokens = {};
    int64_t first_position = 0;
    std::span<const int32_t> pages = {};
    int64_t num_logits = 1;
  };
  // Logits [sum of num_logits, V] float32 on the CPU, item by item; undefined where none are wanted. Good until the next step.
  virtual at::Tensor Run(std::span<const Item> items) = 0;
  // The same, and of each row of logits the token that ops::sample_tokens chooses by rows[i] (without rows: the best of each): no logits cross
  // from a device. `before_choice` is called once when the device has its work and before the rows' sets of allowed tokens are read, so that they are
  // made beside the forward. Asked for only where picks_tokens().
  virtual bool picks_tokens() const { return false; }
  virtual std::vector<int32_t> RunAndChoose(std::span<const Item> /*items*/, std::span<const ops::SampleRow> /*rows*/,
                                            const std::function<void()>& /*before_choice*/) {
    return {};
  }

  // Whether the model guesses by itself (V3's MTP module, arXiv 2412.19437, 2.2).
  virtual bool has_drafts() const { return false; }
  // The first rows of item `item` of the last step and the tokens that followed each of them; `first_position` and `pages` as in Item.
  struct DraftItem {
    int64_t item = 0;
    std::span<const int32_t> next_tokens = {};
    int64_t first_position = 0;
    std::span<const int32_t> pages = {};
  };
  // Of each item a guess of the token after the last of its next_tokens (-1: none). Every row of a sequence must pass once, in order, for its
  // guesses to be good; nothing else depends on them.
  virtual std::vector<int32_t> Draft(std::span<const DraftItem> /*items*/) { return {}; }

  // The text's vector [D]: the hidden rows after the final norm, pooled, at unit length. Uses no page. At least one token.
  virtual std::vector<float> Embed(std::span<const int32_t> tokens, Pooling pooling) = 0;
};

}  // namespace fathom
