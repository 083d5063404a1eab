// A recipe: everything that a pretraining run is made of, read from YAML with an error for each line that does not fit.
//
//   model: {depth: 6}                    # one dial, or `config: FILE`, or config.json's keys themselves
//   tokenizer: tokenizers/code-8k        # a folder or tokenizer.json; or {vocab_size: 8192}: trained on the data before the first step
//   data: {...}                          # data/spec.h
//   train: {steps: 2000, batch_size: 32, sequence_length: 512, microbatch_size: 8, dtype: bf16, seed: 1, deterministic: false}   # or fp32, fp16, fp8
//   optimizer: {kind: adamw, lr: 3.0e-3, min_lr: 3.0e-4, schedule: cosine, warmup_steps: 100, weight_decay: 0.1, clip: 1.0, moments: fp32, masters: true,
//               average: 0.999}           # or kind: muon; average: of the weights, on the CPU
//   objective: {mtp_weight: 0.3, z_loss: 0, balance: sequence, balance_alpha: 1.0e-4, bias_gamma: 1.0e-3, bias_freeze_step: -1, expert_capacity: 0}
//   checkpoint: {every: 200, keep_last: 3, keep_every: 0}
//   evaluate: {every: 200, rows: 16, prompts: ["def main("], new_tokens: 48}
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/yaml.h"
#include "data/spec.h"
#include "model/config.h"
#include "train/snapshot.h"
#include "train/trainer.h"

namespace fathom {

struct Recipe {
  ModelConfig model;
  std::string tokenizer;
  DataSpec data;

  int64_t steps = 1000;
  int64_t batch_size = 16;       // rows of a step, after the ramp
  int64_t first_batch_size = 0;  // rows of the first step: grows linearly to batch_size over batch_ramp_steps; 0: no ramp
  int64_t batch_ramp_steps = 0;
  int64_t microbatch_size = 0;   // rows at once; 0: all
  int64_t sequence_length = 512;
  uint64_t seed = 1;
  at::ScalarType dtype = at::kBFloat16;
  bool fp8 = false;              // products in FP8 (ModelOptions::fp8_training)
  bool deterministic = false;

  TrainerOptions trainer;        // with the schedule, the objective, the optimizer
  double mtp_weight_late = -1;   // from mtp_late_step on (V3: 0.3, then 0.1); negative: as before
  int64_t mtp_late_step = 0;
  double temperature_first = 1, temperature_last = 1;  // of a softmax router, annealed linearly

  int64_t snapshot_every = 200;
  SnapshotKeep keep;
  int64_t evaluate_every = 0, evaluate_rows = 16;
  std::vector<std::string> prompts;  // continued at each evaluation
  int64_t new_tokens = 48;

  std::string yaml;              // as it was taken, what --set changed included

  // Rows of step `step`, counted from 1.
  int64_t RowsAt(int64_t step) const;
  // Of all steps.
  double num_tokens() const;
};

// Reads and checks a recipe. `tokenizer` is the path of the run's tokenizer and `vocab_size` the
// number of its tokens, which a recipe's model has too unless it says otherwise. Relative paths stay as they are.
// Throws UserError with file and line: unknown keys (with the nearest known one), values out of range, settings that do not fit together.
Recipe ParseRecipe(const Yaml& yaml, const std::string& tokenizer, int64_t vocab_size);

// The recipe with --set's "path.to.key=value" in it, and the paths of --data (if there are any) in the place of its data's sources.
Yaml WithSettings(Yaml yaml, const std::vector<std::string>& set, const std::vector<std::string>& data_paths);
// Its data section. Throws UserError where it has none.
DataSpec DataOf(const Yaml& recipe);

// A family of sizes by one dial: `depth` layers of width 64 * depth (at least 128), MLA with heads of 64 (48 + 16), V3's routing over 32 experts of which
// 4 are chosen beside a shared one, the first layer dense, one MTP module.
ModelConfig ConfigOfDepth(int64_t depth, int64_t vocab_size);

}  // namespace fathom
