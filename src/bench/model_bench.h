// Prefill and decode of a model, beside what its weights and products cost on this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "bench/kernel_profile.h"
#include "model/model.h"

namespace fathom {

struct ModelBenchOptions {
  int64_t batch = 1, prompt_tokens = 512, new_tokens = 64;
  bool sampled = false;  // decode: tokens are drawn (temperature 0.8, top-k 50, top-p 0.95, repetition penalty 1.1), not the best
  bool profile = false;  // decode: one more step, by kernel (on a GPU)
  std::function<bool()> cancelled = {};
};

struct ModelBenchResult {
  int64_t steps = 0;
  double tokens_per_s = 0;       // of all sequences: median over the steps
  double seconds_per_step = 0;   // median
  double bytes_per_step = 0;     // weights that a step reads, and its keys and values
  double flop_per_step = 0;      // 2 a weight a token, and attention's products
  double cache_bytes_per_token = 0;
  std::vector<KernelTime> kernels = {};
};

// One decode step: every sequence holds prompt_tokens and grows by new_tokens, a token a step.
ModelBenchResult BenchDecode(const std::shared_ptr<Model>& model, const ModelBenchOptions& options);
// One forward over batch * prompt_tokens tokens with the logits of each sequence's last one; the median of several.
ModelBenchResult BenchPrefill(const std::shared_ptr<Model>& model, const ModelBenchOptions& options);

// Costs of a step of `rows` tokens, each with `context` keys: exact for the weights, 2 * multiply-adds for FLOP.
struct StepCost {
  double bytes = 0, flop = 0;
};
StepCost CostOfStep(const ModelConfig& config, const ModelOptions& options, int64_t rows, int64_t head_rows, double context);

}  // namespace fathom
