// Decode steps recorded in CUDA graphs: one a batch size of a ladder, replayed with no host work between the kernels.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "model/attention_backend.h"
#include "model/model.h"

namespace fathom {

// int64 [B] of logits [B, V]: the best token of each row, the lowest id among equals; -1 where the best is not finite.
at::Tensor GreedyTokens(const at::Tensor& logits_BV);

class DecodeGraphs {
 public:
  // Tokens are appended to sequences of `cache` of at most table_width pages. `scratch_page` belongs to nobody: the rows that fill a batch up
  // to the ladder's size write there.
  DecodeGraphs(const Model& model, PagedCache& cache, int64_t table_width, int32_t scratch_page);
  ~DecodeGraphs();

  struct Item {
    int32_t token = 0;
    int64_t position = 0;                 // of the token in its sequence
    std::span<const int32_t> pages = {};  // of the sequence, the token's page included
  };
  struct Output {
    at::Tensor logits_BV;  // on the device, in the model's dtype
    at::Tensor greedy_B;   // GreedyTokens of them
  };
  // One step. The tensors are the graph's own: read them before the next step. Call under InferenceMode. Throws MachineError where the step
  // cannot be recorded.
  Output Run(const std::vector<Item>& items);

  static constexpr int64_t kMostItems = 512;

 private:
  struct Recorded;
  Recorded& At(int64_t batch);

  const Model& model_;
  PagedCache& cache_;
  int64_t table_width_;
  int32_t scratch_page_;
  std::map<int64_t, std::unique_ptr<Recorded>> recorded_;  // by batch size
};

// The size of the ladder that `batch` items are filled up to: 1, 2, 4, 8, 16, then multiples of 16, from 128 of 32.
int64_t LadderSize(int64_t batch);

}  // namespace fathom
