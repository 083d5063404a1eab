#include "bench/model_bench.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <iterator>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/model_runner.h"
#include "engine/random.h"
#include "engine/sampler.h"
#include "model/weight_table.h"

namespace fathom {
namespace {

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, uint64_t stream) {
  RandomStream random(1, stream);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.Uniform() * static_cast<double>(vocab_size));
  return tokens;
}

// Bytes that a step reads less where weights stay in blocks: the head is the embedding where they are tied.
double SavedBytes(Model& model) {
  const double element_size = static_cast<double>(c10::elementSize(model.options().dtype));
  double saved = 0;
  model.ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    if (!slot.blocks.defined() || spec.is_mtp || (spec.kind == WeightKind::kEmbedding && !model.config().tie_word_embeddings)) return;
    saved += static_cast<double>(spec.shape[0] * spec.shape[1]) * element_size - static_cast<double>(slot.blocks.nbytes());
  });
  return saved;
}

ModelBenchResult Summarize(Model& model, const std::vector<double>& seconds, int64_t rows, int64_t head_rows, double context) {
  ModelBenchResult result;
  result.steps = std::ssize(seconds);
  result.seconds_per_step = Median(seconds);
  result.tokens_per_s = result.steps > 0 ? static_cast<double>(rows) / result.seconds_per_step : 0;
  const StepCost cost = CostOfStep(model.config(), model.options(), rows, head_rows, context);
  result.bytes_per_step = cost.bytes - SavedBytes(model);
  result.flop_per_step = cost.flop;
  result.cache_bytes_per_token = static_cast<double>(model.config().num_hidden_layers *
                                                     CacheBytesPerTokenPerLayer(model.config(), model.options().dtype, model.options().kv_cache));
  return result;
}

// A step whose tokens are drawn: on the device where the runner does that, else from the logits on the CPU, as the engine does.
void SampledStep(ModelRunner& runner, std::vector<ModelRunner::Item>& items, std::vector<Sampler>& samplers) {
  std::deque<std::vector<ops::SeenToken>> lists;
  std::vector<ops::SampleRow> rows;
  for (const Sampler& sampler : samplers) rows.push_back(sampler.Row({}, lists));
  std::vector<int32_t> tokens;
  if (runner.picks_tokens()) {
    tokens = runner.RunAndChoose(items, rows);
  } else {
    const at::Tensor tokens_B = ops::sample_tokens(runner.Run(items, true), rows);
    tokens.assign(tokens_B.const_data_ptr<int64_t>(), tokens_B.const_data_ptr<int64_t>() + tokens_B.numel());
  }
  for (size_t b = 0; b < tokens.size(); ++b) {
    samplers[b].Accept(tokens[b]);
    items[b].tokens = {tokens[b]};
  }
}

}  // namespace

StepCost CostOfStep(const ModelConfig& config, const ModelOptions& options, int64_t rows, int64_t head_rows, double context) {
  StepCost cost;
  const double element_size = static_cast<double>(c10::elementSize(options.dtype));
  const double experts = static_cast<double>(std::max<int64_t>(config.n_routed_experts, 1));
  const double share = static_cast<double>(config.num_experts_per_tok) / experts;  // of the experts, that a token uses
  const double touched = 1 - std::pow(1 - share, static_cast<double>(rows));       // of the experts, that a step reads (even routing)
  for (const WeightSpec& spec : ListWeights(config)) {
    if (spec.is_mtp) continue;
    double numel = 1;
    for (const int64_t n : spec.shape) numel *= static_cast<double>(n);
    const double size = spec.keep_float32 ? 4 : element_size;
    if (spec.kind == WeightKind::kEmbedding) {
      cost.bytes += static_cast<double>(rows * config.hidden_size) * size;
    } else if (spec.is_routed_expert) {
      cost.bytes += numel * size * touched;
      cost.flop += 2 * numel * share * static_cast<double>(rows);
    } else {
      cost.bytes += numel * size;
      if (spec.shape.size() == 2) cost.flop += 2 * numel * static_cast<double>(spec.kind == WeightKind::kHead ? head_rows : rows);
    }
  }
  const double layers = static_cast<double>(config.num_hidden_layers), heads = static_cast<double>(config.num_attention_heads);
  const double keys = static_cast<double>(rows) * context;
  // Each sequence's keys and values are read once in a step; rows of one sequence share them in prefill, where they cost little.
  cost.bytes += layers * static_cast<double>(CacheBytesPerTokenPerLayer(config, options.dtype, options.kv_cache)) * static_cast<double>(head_rows) * context;
  const double per_key = config.has_mla() ? static_cast<double>(2 * config.kv_lora_rank + config.qk_rope_head_dim)
                                          : static_cast<double>(2 * config.head_dim);
  cost.flop += 2 * layers * heads * keys * per_key;
  return cost;
}

ModelBenchResult BenchDecode(const std::shared_ptr<Model>& model, const ModelBenchOptions& options) {
  constexpr int64_t kWarmUp = 4;
  ModelRunner runner(model, {.max_sequence_tokens = options.prompt_tokens + kWarmUp + options.new_tokens + 1, .num_sequences = options.batch});
  std::vector<ModelRunner::Item> items;
  for (int64_t b = 0; b < options.batch; ++b) {
    const int32_t sequence = runner.NewSequence();
    runner.Run({{sequence, RandomTokens(options.prompt_tokens, runner.vocab_size(), b)}}, false);
    items.push_back({sequence, RandomTokens(1, runner.vocab_size(), options.batch + b)});
  }
  std::vector<Sampler> samplers;
  if (options.sampled) {
    for (int64_t b = 0; b < options.batch; ++b) {
      samplers.emplace_back(SamplingParams{.temperature = 0.8, .top_k = 50, .top_p = 0.95, .repetition_penalty = 1.1},
                            RandomTokens(options.prompt_tokens, runner.vocab_size(), b), b);
    }
  }
  // The tokens or the logits arrive on the CPU: nothing is left running.
  const auto run_step = [&] {
    if (options.sampled) SampledStep(runner, items, samplers);
    else if (runner.picks_tokens()) runner.RunGreedy(items);
    else runner.Run(items, true);
  };
  std::vector<double> seconds;
  for (int64_t step = 0; step < kWarmUp + options.new_tokens; ++step) {
    if (options.cancelled && options.cancelled()) break;
    const double start = MonotonicSeconds();
    run_step();
    if (step >= kWarmUp) seconds.push_back(MonotonicSeconds() - start);
  }
  const double context = static_cast<double>(options.prompt_tokens) + static_cast<double>(options.new_tokens) / 2;
  ModelBenchResult result = Summarize(*model, seconds, options.batch, options.batch, context);
  if (options.profile) result.kernels = ProfileKernels(run_step);
  return result;
}

ModelBenchResult BenchPrefill(const std::shared_ptr<Model>& model, const ModelBenchOptions& options) {
  constexpr int64_t kLeastRuns = 3, kMostRuns = 20;
  constexpr double kSeconds = 3;
  ModelRunner runner(model, {.max_sequence_tokens = options.prompt_tokens, .num_sequences = options.batch});
  std::vector<ModelRunner::Item> items;
  for (int64_t b = 0; b < options.batch; ++b) {
    items.push_back({runner.NewSequence(), RandomTokens(options.prompt_tokens, runner.vocab_size(), b)});
  }
  std::vector<double> seconds;
  const double begin = MonotonicSeconds();
  for (int64_t run = 0; run <= kMostRuns && (run <= kLeastRuns || MonotonicSeconds() - begin < kSeconds); ++run) {
    if (options.cancelled && options.cancelled()) break;
    for (const ModelRunner::Item& item : items) runner.Truncate(item.sequence, 0);
    const double start = MonotonicSeconds();
    runner.Run(items, true);
    if (run > 0) seconds.push_back(MonotonicSeconds() - start);  // the first warms up
  }
  return Summarize(*model, seconds, options.batch * options.prompt_tokens, options.batch, static_cast<double>(options.prompt_tokens) / 2);
}

}  // namespace fathom
