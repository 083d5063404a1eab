// What generation asks of a model: sequences that grow by tokens, and the logits of their last ones. ModelRunner runs a real model over
// the paged cache; tests put a fake behind it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace fathom {

class Runner {
 public:
  virtual ~Runner() = default;
  virtual int64_t vocab_size() const = 0;
  // Tokens that one sequence can hold.
  virtual int64_t max_sequence_tokens() const = 0;

  // A new empty sequence, to be freed.
  virtual int32_t NewSequence() = 0;
  virtual void FreeSequence(int32_t sequence) = 0;
  // `count` new sequences with the tokens of `sequence`, which share its memory where they can.
  virtual std::vector<int32_t> Fork(int32_t sequence, int64_t count) = 0;
  // Forgets the tokens from `length` on (some before it too, where memory is shared). The number of tokens that are left.
  virtual int64_t Truncate(int32_t sequence, int64_t length) = 0;
  virtual const std::vector<int32_t>& Tokens(int32_t sequence) const = 0;

  struct Item {
    int32_t sequence = 0;
    std::vector<int32_t> tokens;
  };
  // Appends every item's tokens to its sequence in one forward. Logits [items, V] float32 on the CPU of each item's last token, undefined
  // without `want_logits`.
  virtual at::Tensor Run(const std::vector<Item>& items, bool want_logits) = 0;
  // The same, and of each item the best token alone (the lowest id among equals; -1 where no logit is finite): no logits cross from a device.
  // Asked for only where picks_tokens().
  virtual bool picks_tokens() const { return false; }
  virtual std::vector<int32_t> RunGreedy(const std::vector<Item>&) { return {}; }
};

}  // namespace fathom
