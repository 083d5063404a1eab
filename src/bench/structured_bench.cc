#include "bench/structured_bench.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/grammar.h"
#include "engine/paged_runner.h"
#include "engine/random.h"

namespace fathom {
namespace {

double Median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Seconds of all answers' steps. `tokens`: those of the first answer.
double RunOnce(Engine& engine, const StructuredBenchOptions& options, const std::shared_ptr<const Grammar>& grammar, std::vector<int32_t>& tokens) {
  int64_t num_tokens = 0;
  for (int64_t b = 0; b < options.batch; ++b) {
    RandomStream random(11, static_cast<uint64_t>(b));
    GenerationRequest request{.max_new_tokens = options.new_tokens, .ignore_eos = true, .grammar = grammar};
    for (int64_t i = 0; i < options.prompt_tokens; ++i) request.prompt.push_back(static_cast<int32_t>(random.Uniform() * static_cast<double>(engine.vocab_size())));
    engine.Submit(std::move(request), {.on_delta = [&, b](const Delta& delta) {
                                         num_tokens += std::ssize(delta.tokens);
                                         if (b == 0) tokens.insert(tokens.end(), delta.tokens.begin(), delta.tokens.end());
                                         return !options.cancelled || !options.cancelled();
                                       },
                                       .on_end = {}});
  }
  const double start = MonotonicSeconds();
  while (engine.Step()) {
  }
  const double seconds = MonotonicSeconds() - start;
  FATHOM_USER_CHECK(num_tokens == options.batch * options.new_tokens || (options.cancelled && options.cancelled()),
                    "the form ends after {} of {} tokens: measure with one whose texts can go on", num_tokens, options.batch * options.new_tokens);
  return seconds;
}

// Of one core, a token of `tokens`.
double MaskMicroseconds(const std::shared_ptr<const Grammar>& grammar, const std::vector<int32_t>& tokens) {
  std::vector<uint32_t> mask(static_cast<size_t>(NumMaskWords(grammar->vocab_size())));
  std::vector<double> seconds;
  for (int round = 0; round < 5; ++round) {
    GrammarMatcher matcher(grammar);
    const double start = MonotonicSeconds();
    for (const int32_t token : tokens) {
      matcher.FillMask(mask);
      matcher.Accept(token);
    }
    seconds.push_back(MonotonicSeconds() - start);
  }
  return 1e6 * Median(seconds) / static_cast<double>(std::max<size_t>(tokens.size(), 1));
}

}  // namespace

StructuredBenchResult BenchStructured(const LoadedModel& loaded, const StructuredBenchOptions& options) {
  StructuredBenchResult result;
  const double start = MonotonicSeconds();
  GrammarCompiler compiler(*loaded.tokenizer, loaded.model->config().vocab_size, {});
  const std::shared_ptr<const Grammar> grammar = compiler.Compile({options.ebnf});
  result.compile_s = MonotonicSeconds() - start;
  const int64_t tokens_each = options.prompt_tokens + options.new_tokens;
  const int64_t pages_each = (tokens_each + kPageTokens - 1) / kPageTokens;
  auto runner = std::make_unique<PagedRunner>(loaded.model, PagedRunnerOptions{.num_pages = pages_each * options.batch, .max_sequence_tokens = tokens_each});
  Engine engine(std::move(runner), loaded.tokenizer, {.context_length = tokens_each, .max_running = options.batch, .reuse_prefixes = false});
  std::vector<double> free_s, formed_s;
  std::vector<int32_t> tokens;
  for (int64_t round = -1; round < options.rounds && !(options.cancelled && options.cancelled()); ++round) {  // the first warms up
    std::vector<int32_t> said, unused;
    const double without = RunOnce(engine, options, nullptr, unused), with = RunOnce(engine, options, grammar, said);
    if (round < 0) continue;
    free_s.push_back(without);
    formed_s.push_back(with);
    tokens = said;
  }
  if (free_s.empty()) return result;
  const auto num_tokens = static_cast<double>(options.batch * options.new_tokens);
  result.free_tokens_per_s = num_tokens / Median(free_s);
  result.formed_tokens_per_s = num_tokens / Median(formed_s);
  result.seconds_per_step = Median(free_s) / static_cast<double>(options.new_tokens);
  result.mask_us = MaskMicroseconds(grammar, tokens);
  return result;
}

}  // namespace fathom
