// fathom pretrain: a recipe from its data to a model that generate can run, safe to interrupt.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <functional>

#include "base/interrupted.h"
#include "train/recipe.h"
#include "train/step_report.h"

namespace fathom {

struct PretrainOptions {
  std::filesystem::path out;
  bool resume = false;
  c10::Device device = at::kCPU;
  int num_threads = 1;
  bool show_progress = false;        // of tokenising
  double peak_tflop_per_s = 0;       // of the device's products, for the share that training reaches; 0: not measured
  // Asked between steps: true saves and ends the run. Asked too while the tokenizer is trained and text is tokenised: true ends that with Interrupted.
  StopFunction stop = {};
};

struct PretrainResult {
  int64_t last_step = 0;
  bool finished = false;        // false: stopped before the recipe's last step, --resume goes on
  bool data_ended = false;      // the sources' repeat limits came before the last step
  std::filesystem::path model;  // the Hugging Face folder, where the run finished
};

// Makes DIR. Without `resume` a DIR that is not empty is a UserError.
void PrepareRunFolder(const std::filesystem::path& dir, bool resume);

// The tokenizer of a run: what the recipe's `tokenizer` names, or DIR/tokenizer, which is trained on the data unless it is there. Throws UserError, Interrupted.
std::filesystem::path PrepareTokenizer(const Yaml& recipe, const PretrainOptions& options);

// Runs the recipe in DIR, a folder that PrepareRunFolder made:
//   DIR/recipe.yaml, DIR/log.jsonl (an object a step; cut back to the resumed step), DIR/checkpoints/step-N (train/snapshot.h), DIR/model (at the end:
//   config.json, weights, tokenizer; DIR/model-average where the recipe averages weights), DIR/tokens (the tokenised sources), DIR/expert_load.jsonl (how often each
//   expert was chosen, summed over a fiftieth of the run), DIR/samples.jsonl (prompts continued), DIR/bad_steps.jsonl (where in the data a step that was not finite
//   began), DIR/events.out.tfevents.* (TensorBoard), DIR/report.html.
// With `resume` and no whole snapshot the run starts afresh. A resumed run is equal to the bit on the CPU.
// Throws UserError, Interrupted, MachineError (a full disk; the last snapshot is whole).
PretrainResult Pretrain(const Recipe& recipe, const PretrainOptions& options, const std::function<void(const StepReport&)>& on_step);

struct ExportedRun {
  int64_t step = 0;
};

// Writes the newest whole snapshot of the run in options.out as a Hugging Face folder with the tokenizer: the weights, or with `average` their moving average.
// Throws UserError where there is no snapshot, the recipe averages nothing, or `folder` is not empty.
ExportedRun ExportRun(const Recipe& recipe, const PretrainOptions& options, bool average, const std::filesystem::path& folder);

}  // namespace fathom
