// The runner of a real model over the paged cache.
#pragma once

#include <memory>
#include <optional>

#include "engine/decode_graphs.h"
#include "engine/page_allocator.h"
#include "engine/runner.h"
#include "model/attention_backend.h"
#include "model/model.h"

namespace fathom {

struct RunnerLimits {
  int64_t max_sequence_tokens = 0;
  int64_t num_sequences = 1;
  bool use_graphs = true;  // on a GPU: replay decode steps from CUDA graphs
};

class ModelRunner : public Runner {
 public:
  // Allocates the cache: pages for every sequence at its longest. Throws MachineError when memory does not suffice.
  ModelRunner(std::shared_ptr<const Model> model, const RunnerLimits& limits);
  ~ModelRunner() override;

  int64_t vocab_size() const override;
  int64_t max_sequence_tokens() const override;
  int32_t NewSequence() override;
  void FreeSequence(int32_t sequence) override;
  // Whole pages are shared; the tokens of the last, open page are run again into a page of each new sequence.
  std::vector<int32_t> Fork(int32_t sequence, int64_t count) override;
  int64_t Truncate(int32_t sequence, int64_t length) override;
  const std::vector<int32_t>& Tokens(int32_t sequence) const override;
  // On a GPU a step of one token an item is replayed from a CUDA graph.
  at::Tensor Run(const std::vector<Item>& items, bool want_logits) override;
  bool picks_tokens() const override { return model_->options().device.is_cuda(); }
  std::vector<int32_t> RunGreedy(const std::vector<Item>& items) override;

  bool uses_graphs() const { return graphs_ != nullptr; }
  int64_t cache_bytes() const { return cache_.num_bytes(); }

 private:
  struct Sequence {
    std::vector<int32_t> tokens;
    std::vector<int32_t> pages;
  };
  Sequence& At(int32_t sequence);
  // Appends the items' tokens and gives every sequence the pages that it needs.
  void Grow(const std::vector<Item>& items);
  // The forward over tokens that Grow has appended: logits [items, V] on the device.
  at::Tensor Forward(const std::vector<Item>& items, bool want_logits);
  std::optional<DecodeGraphs::Output> Replay(const std::vector<Item>& items);

  std::shared_ptr<const Model> model_;
  RunnerLimits limits_;
  PageAllocator allocator_;
  PagedCache cache_;
  std::vector<std::optional<Sequence>> sequences_;
  std::unique_ptr<DecodeGraphs> graphs_;  // null: not on a GPU, or the step cannot be recorded
};

}  // namespace fathom
