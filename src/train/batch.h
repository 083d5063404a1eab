// A batch as the objective takes it: packed tokens, their targets, and the rows of the multi-token predictions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention_backend.h"

namespace fathom {

// One depth of multi-token prediction: of each sequence all rows of the depth before but the last.
struct MtpRows {
  at::Tensor rows;          // [R] int64: which rows of the depth before (the main model's for the first)
  PackedBatch next_tokens;  // the token behind what each row's depth before has seen
  at::Tensor targets;       // [R] int64
  int64_t num_targets = 0;
};

struct TrainBatch {
  PackedBatch packed;
  at::Tensor targets_T;  // int64, kIgnoredTarget where there is no loss
  int64_t num_targets = 0;
  std::vector<MtpRows> mtp;  // a depth each

  int64_t num_tokens() const { return targets_T.size(0); }
};

// tokens, targets [T] of sequences of `lens` tokens; positions count from 0 in each. `mtp_depths` as many depths as the model predicts.
// The copies to a GPU do not wait.
TrainBatch MakeTrainBatch(const std::vector<int64_t>& tokens, const std::vector<int64_t>& targets, const std::vector<int32_t>& lens, int64_t mtp_depths,
                          at::Device device);

}  // namespace fathom
