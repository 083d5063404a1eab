#include "bench/serve_bench.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/model_runner.h"
#include "engine/paged_runner.h"
#include "engine/random.h"

namespace fathom {
namespace {

std::vector<int32_t> RandomPrompt(int64_t length, int64_t vocab_size, uint64_t stream) {
  RandomStream random(7, stream);
  std::vector<int32_t> tokens(static_cast<size_t>(length));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.Uniform() * static_cast<double>(vocab_size));
  return tokens;
}

int64_t PagesFor(int64_t num_tokens) { return (num_tokens + kPageTokens - 1) / kPageTokens; }

}  // namespace

std::vector<RequestLengths> DrawLengths(int64_t count, const LengthMix& mix) {
  RandomStream random(mix.seed, 0);
  const auto draw = [&] {  // Box and Muller
    const double u = 1 - random.Uniform(), v = random.Uniform();
    const double normal = std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
    const double length = std::round(mix.median * std::exp(mix.sigma * normal));
    return static_cast<int64_t>(std::clamp(length, static_cast<double>(mix.least), static_cast<double>(mix.most)));
  };
  std::vector<RequestLengths> lengths(static_cast<size_t>(count));
  for (RequestLengths& each : lengths) {
    each.prompt_tokens = draw();
    each.new_tokens = draw();
  }
  return lengths;
}

ThroughputResult BenchEngine(const std::shared_ptr<Model>& model, const EngineBenchOptions& options) {
  const std::vector<RequestLengths> lengths = DrawLengths(options.num_requests, options.mix);
  int64_t num_pages = 0, longest = 0;
  for (const RequestLengths& each : lengths) {
    num_pages += PagesFor(each.prompt_tokens + each.new_tokens);
    longest = std::max(longest, each.prompt_tokens + each.new_tokens);
  }
  auto runner = std::make_unique<PagedRunner>(model, PagedRunnerOptions{.num_pages = num_pages, .max_sequence_tokens = longest});
  Engine engine(std::move(runner), nullptr, {.context_length = longest, .max_running = options.max_running, .tokens_per_step = options.tokens_per_step});
  ThroughputResult result;
  for (size_t i = 0; i < lengths.size(); ++i) {
    engine.Submit({.prompt = RandomPrompt(lengths[i].prompt_tokens, engine.vocab_size(), i), .max_new_tokens = lengths[i].new_tokens, .ignore_eos = true},
                  {.on_delta = [&](const Delta& delta) {
                     result.new_tokens += std::ssize(delta.tokens);
                     return !options.cancelled || !options.cancelled();
                   },
                   .on_end = {}});
  }
  const double start = MonotonicSeconds();
  while (engine.Step()) ++result.steps;
  result.seconds = MonotonicSeconds() - start;
  return result;
}

ThroughputResult BenchStaticBatches(const std::shared_ptr<Model>& model, const EngineBenchOptions& options) {
  const std::vector<RequestLengths> lengths = DrawLengths(options.num_requests, options.mix);
  ThroughputResult result;
  const double start = MonotonicSeconds();
  for (size_t first = 0; first < lengths.size(); first += static_cast<size_t>(options.static_batch)) {
    const size_t last = std::min(first + static_cast<size_t>(options.static_batch), lengths.size());
    int64_t prompt_tokens = 0, new_tokens = 0;
    for (size_t i = first; i < last; ++i) {
      prompt_tokens = std::max(prompt_tokens, lengths[i].prompt_tokens);
      new_tokens = std::max(new_tokens, lengths[i].new_tokens);
      result.new_tokens += lengths[i].new_tokens;
    }
    ModelRunner runner(model, {.max_sequence_tokens = prompt_tokens + new_tokens, .num_sequences = static_cast<int64_t>(last - first)});
    std::vector<ModelRunner::Item> items;
    for (size_t i = first; i < last; ++i) items.push_back({runner.NewSequence(), RandomPrompt(prompt_tokens, runner.vocab_size(), i)});
    for (int64_t step = 0; step < new_tokens; ++step) {
      if (options.cancelled && options.cancelled()) return result;
      const at::Tensor logits_BV = runner.Run(items, true);
      const float* row = logits_BV.const_data_ptr<float>();
      for (size_t b = 0; b < items.size(); ++b, row += logits_BV.size(1)) items[b].tokens = {static_cast<int32_t>(std::max_element(row, row + logits_BV.size(1)) - row)};
      ++result.steps;
    }
  }
  result.seconds = MonotonicSeconds() - start;
  return result;
}

SharedPromptResult BenchSharedPrompt(const std::shared_ptr<Model>& model, const SharedPromptOptions& options) {
  const int64_t longest = options.shared_tokens + options.own_tokens + 2;
  auto runner = std::make_unique<PagedRunner>(model, PagedRunnerOptions{.num_pages = 3 * PagesFor(longest), .max_sequence_tokens = longest});
  Engine engine(std::move(runner), nullptr, {.context_length = longest, .max_running = 16, .tokens_per_step = options.tokens_per_step});
  SharedPromptResult result;
  std::vector<double> first, second;
  uint64_t stream = 0;
  for (int64_t r = 0; r < options.rounds && !(options.cancelled && options.cancelled()); ++r) {
    const std::vector<int32_t> shared = RandomPrompt(options.shared_tokens, engine.vocab_size(), stream++);
    for (const bool is_first : {true, false}) {
      GenerationRequest request{.prompt = shared, .max_new_tokens = 1, .ignore_eos = true};
      const std::vector<int32_t> own = RandomPrompt(options.own_tokens, engine.vocab_size(), stream++);
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
      const Timings timings = GenerateOn(engine, request, [](const Delta&) { return true; });
      (is_first ? first : second).push_back(timings.prefill_s);
      (is_first ? result.first_run : result.second_run) = timings.prefilled_tokens;
    }
  }
  result.first_s = PercentilesOf(std::move(first)).p50;
  result.second_s = PercentilesOf(std::move(second)).p50;
  return result;
}

Percentiles PercentilesOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) { return values[static_cast<size_t>(std::ceil(part * static_cast<double>(values.size()))) - 1]; };
  return {at(0.50), at(0.95), at(0.99)};
}

}  // namespace fathom
