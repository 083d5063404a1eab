#include "bench/train_bench.h"

#include <algorithm>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "engine/random.h"
#include "model/weight_table.h"
#include "ops/cuda_backend.h"

namespace fathom {
namespace {

// Random tokens, each with the next as its target.
std::vector<TrainBatch> RandomBatches(const Model& model, const TrainBenchOptions& options) {
  std::vector<TrainBatch> batches;
  const int64_t vocab = model.config().vocab_size, depths = options.trainer.objective.mtp_weight > 0 ? model.config().num_nextn_predict_layers : 0;
  for (int64_t m = 0; m < options.microbatches; ++m) {
    const int64_t sequences = options.batch / options.microbatches;
    RandomStream random(1, static_cast<uint64_t>(m));
    std::vector<int64_t> tokens, targets;
    for (int64_t i = 0; i < sequences * (options.tokens + 1); ++i) {
      const auto token = static_cast<int64_t>(random.Uniform() * static_cast<double>(vocab));
      if (i % (options.tokens + 1) > 0) targets.push_back(token);
      if (i % (options.tokens + 1) < options.tokens) tokens.push_back(token);
    }
    const std::vector<int32_t> lens(static_cast<size_t>(sequences), static_cast<int32_t>(options.tokens));
    batches.push_back(MakeTrainBatch(tokens, targets, lens, depths, model.options().device));
  }
  return batches;
}

}  // namespace

TrainBenchResult BenchTrain(const std::shared_ptr<Model>& model, const TrainBenchOptions& options) {
  FATHOM_USER_CHECK(options.microbatches >= 1 && options.batch % options.microbatches == 0, "--batch must be a multiple of --microbatches, got {} and {}",
                    options.batch, options.microbatches);
  Trainer trainer(*model, options.trainer);
  const std::vector<TrainBatch> batches = RandomBatches(*model, options);
  TrainBenchResult result;
  std::vector<double> seconds;
  for (int64_t step = 0; step < options.warmup_steps + options.steps; ++step) {
    if (options.cancelled && options.cancelled()) break;
    const double start = MonotonicSeconds();
    const StepMetrics metrics = trainer.Step(batches);  // ends with the metrics on the host: nothing is left running but the biases' update
    if (step >= options.warmup_steps) seconds.push_back(MonotonicSeconds() - start);
    if (step == 0) result.first_loss = metrics.loss;
    result.last_loss = metrics.loss;
  }
  result.steps = static_cast<int64_t>(seconds.size());
  if (options.profile) {
    result.kernels = ProfileKernels([&] {
      trainer.Step(batches);
      if (ops::CudaTable() != nullptr) ops::CudaTable()->synchronize();
    });
  }
  const ParameterCount count = CountParameters(model->config());
  result.parameters = count.total;
  result.active_parameters = count.active;
  const double tokens = static_cast<double>(options.batch * options.tokens);
  result.flop_per_step = 6 * static_cast<double>(count.active) * tokens;
  if (seconds.empty()) return result;
  std::nth_element(seconds.begin(), seconds.begin() + result.steps / 2, seconds.end());
  result.seconds_per_step = seconds[static_cast<size_t>(result.steps / 2)];
  result.tokens_per_s = tokens / result.seconds_per_step;
  if (ops::CudaTable() != nullptr && model->options().device.is_cuda()) result.peak_bytes = static_cast<double>(ops::CudaTable()->peak_bytes());
  return result;
}

}  // namespace fathom
