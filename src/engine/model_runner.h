// A real model's sequences by hand, without the engine: what benchmarks and tests of single steps use. Every sequence has pages of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/paged_runner.h"

namespace fathom {

struct RunnerLimits {
  int64_t max_sequence_tokens = 0;
  int64_t num_sequences = 1;
  bool use_graphs = true;  // on a GPU: replay decode steps from CUDA graphs
};

class ModelRunner {
 public:
  // Allocates the cache: pages for every sequence at its longest. Throws MachineError when memory does not suffice.
  ModelRunner(std::shared_ptr<const Model> model, const RunnerLimits& limits);

  int64_t vocab_size() const { return runner_.vocab_size(); }
  // A new empty sequence; at most num_sequences.
  int32_t NewSequence();
  // Forgets the tokens from `length` on.
  void Truncate(int32_t sequence, int64_t length);

  struct Item {
    int32_t sequence = 0;
    std::vector<int32_t> tokens;
  };
  // Appends every item's tokens to its sequence in one forward. Logits [items, V] float32 on the CPU of each item's last token, undefined
  // without `want_logits`.
  at::Tensor Run(const std::vector<Item>& items, bool want_logits);
  // The same, and of each item the best token alone, or the one that its row chooses.
  std::vector<int32_t> RunGreedy(const std::vector<Item>& items) { return RunAndChoose(items, {}); }
  std::vector<int32_t> RunAndChoose(const std::vector<Item>& items, std::span<const ops::SampleRow> rows);
  bool picks_tokens() const { return runner_.picks_tokens(); }

  bool uses_graphs() const { return runner_.uses_graphs(); }
  int64_t cache_bytes() const { return runner_.cache_bytes(); }

 private:
  std::vector<StepRunner::Item> Append(const std::vector<Item>& items, int64_t num_logits);

  RunnerLimits limits_;
  int64_t pages_each_;
  PagedRunner runner_;
  std::vector<std::vector<int32_t>> pages_;  // of each sequence
  std::vector<int64_t> lengths_;
};

}  // namespace fathom
