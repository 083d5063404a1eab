// What pretraining minimises (DeepSeek-V3, arXiv 2412.19437, 2.1.2 and 2.2): next token, multi-token prediction, balance.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/batch.h"

namespace fathom {

enum class BalanceKind {
  kNone,
  kSequence,  // V3: evens the load of each sequence
  kBatch,     // the classic auxiliary loss (Switch, arXiv 2101.03961): evens that of the batch
};

struct ObjectiveOptions {
  double mtp_weight = 0.3;  // lambda: the mean over depths of their losses counts so much; 0: no multi-token prediction
  double z_loss = 0;
  BalanceKind balance = BalanceKind::kNone;
  double balance_alpha = 1e-4;
  double router_temperature = 1.0;
  double expert_capacity = 0;  // model/capacity_dispatcher.h; 0: none
  double loss_scale = 1;       // gradients are those of the loss times this (train/loss_scaler.h); losses are reported without it
  const RecomputePlan* recompute = nullptr;
};

// Losses of one forward, on the device: float32 scalars without a graph.
struct Losses {
  at::Tensor next_token;          // mean over the step's targets: microbatches add up
  std::vector<at::Tensor> mtp;    // of each depth, likewise
  at::Tensor balance;             // mean over mixtures of sum_e f P (1 when all is even); undefined without one
  std::vector<at::Tensor> counts_E;  // of each mixture, [E] int32
  std::vector<at::Tensor> dropped;   // of each mixture, [] int64: choices beyond the capacity; empty without one
};

// What a step's microbatches share: the numbers of targets that their sums are divided by.
struct StepTargets {
  int64_t next_token = 0;
  std::vector<int64_t> mtp;  // a depth each
  int64_t num_microbatches = 1;
};
StepTargets CountTargets(const std::vector<TrainBatch>& microbatches);

// Runs the model on one microbatch and its backward: gradients are added to the leaves. The gradient is that of
//   next_token + mtp_weight / depths * sum of mtp + balance_alpha * (mean over microbatches of the sum over mixtures of the balance loss).
// The host reads nothing from the device.
Losses AddGradients(const Model& model, const TrainBatch& batch, const StepTargets& targets, const ObjectiveOptions& options);

// The same without a backward and without balance: losses that validation reports.
Losses EvaluateLosses(const Model& model, const TrainBatch& batch, const StepTargets& targets, const ObjectiveOptions& options);

BalanceKind ParseBalanceKind(const std::string& text, const std::string& what);
const char* NameOf(BalanceKind kind);

}  // namespace fathom
