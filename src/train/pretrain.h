// fathom pretrain: a recipe from its data to a model that generate can run, safe to interrupt.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "train/recipe.h"

namespace fathom {

struct PretrainOptions {
  std::filesystem::path out;
  bool resume = false;
  c10::Device device = at::kCPU;
  int num_threads = 1;
  bool show_progress = false;             // of tokenising
  std::function<bool()> stop = {};        // asked after each step: true saves and ends
};

struct EvaluationMetrics {
  double loss = 0;           // next token, over held-out rows
  double bits_per_byte = 0;
};

// What a step reports: a line of DIR/log.jsonl, and of the terminal.
struct StepReport {
  StepMetrics metrics;
  std::optional<EvaluationMetrics> evaluation;
  double tokens_per_s = 0;
  double tflop_per_s = 0;       // 6 a token and active parameter
  int64_t tokens_seen = 0;      // since the first step
  double seconds_left = 0;      // at the speed of the last steps
};

struct PretrainResult {
  int64_t last_step = 0;
  bool finished = false;        // false: stopped before the recipe's last step, --resume goes on
  bool data_ended = false;      // the sources' repeat limits came before the last step
  std::filesystem::path model;  // the Hugging Face folder, where the run finished
};

// Makes DIR. Without `resume` a DIR that is not empty is a UserError.
void PrepareRunFolder(const std::filesystem::path& dir, bool resume);

// The tokenizer of a run: what the recipe's `tokenizer` names, or DIR/tokenizer, which is trained on the data unless it is there. Throws UserError.
std::filesystem::path PrepareTokenizer(const Yaml& recipe, const PretrainOptions& options);

// Runs the recipe in DIR, a folder that PrepareRunFolder made:
//   DIR/recipe.yaml, DIR/log.jsonl (an object a step; cut back to the resumed step), DIR/checkpoints/step-N (train/snapshot.h), DIR/model (at the end:
//   config.json, weights, tokenizer), DIR/tokens (the tokenised sources).
// With `resume` and no whole snapshot the run starts afresh. A resumed run is equal to the bit on the CPU.
// Throws UserError, MachineError (a full disk; the last snapshot is whole).
PretrainResult Pretrain(const Recipe& recipe, const PretrainOptions& options, const std::function<void(const StepReport&)>& on_step);

}  // namespace fathom
