#include "bench/speculation_bench.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/paged_runner.h"

namespace fathom {
namespace {

struct Round {
  double seconds = 0;
  int64_t steps = 0, decoded = 0, drafted = 0, accepted = 0;
  std::vector<std::vector<int32_t>> answers;
};

std::unique_ptr<Engine> MakeEngine(const LoadedModel& loaded, const SpeculationBenchOptions& options, const std::string& way) {
  const int64_t longest = options.prompt_tokens + options.new_tokens + 16;
  const PagedRunnerOptions pages{.num_pages = (longest + kPageTokens - 1) / kPageTokens, .max_sequence_tokens = longest, .use_mtp = way == "mtp"};
  return std::make_unique<Engine>(std::make_unique<PagedRunner>(loaded.model, pages), nullptr,
                                  EngineOptions{.context_length = longest, .max_running = 1, .tokens_per_step = 512, .reuse_prefixes = false,
                                                .num_drafts = way == "lookup" ? options.num_lookup_drafts : 0});
}

Round RunRound(const LoadedModel& loaded, const SpeculationBenchOptions& options, const std::vector<std::vector<int32_t>>& prompts, const std::string& way) {
  const std::unique_ptr<Engine> engine = MakeEngine(loaded, options, way);
  Round round;
  for (size_t i = 0; i < prompts.size(); ++i) {
    GenerationRequest request{.prompt = prompts[i], .sampling = options.sampling, .max_new_tokens = options.new_tokens, .ignore_eos = true};
    request.sampling.seed = i + 1;
    request.cancelled = options.cancelled;
    std::vector<int32_t> answer;
    const int64_t steps_before = engine->stats().num_steps;
    const Timings timings = GenerateOn(*engine, request, [&](const Delta& delta) {
      answer.insert(answer.end(), delta.tokens.begin(), delta.tokens.end());
      return true;
    });
    round.seconds += timings.decode_s;
    round.decoded += timings.decoded_tokens;
    round.steps += engine->stats().num_steps - steps_before - 1;  // the first token's step is the prompt's
    round.answers.push_back(std::move(answer));
  }
  round.drafted = engine->stats().drafted_tokens;
  round.accepted = engine->stats().accepted_tokens;
  return round;
}

}  // namespace

std::vector<SpeculationResult> BenchSpeculation(const LoadedModel& loaded, const SpeculationBenchOptions& options) {
  FATHOM_USER_CHECK(loaded.tokenizer != nullptr, "`bench speculation` reads a text, and this model has no tokenizer: got {} bytes of text", options.text.size());
  const std::vector<int32_t> tokens = loaded.tokenizer->Encode(options.text, {});
  FATHOM_USER_CHECK(std::ssize(tokens) >= options.prompt_tokens, "--file must have at least --prompt-tokens {} tokens, got {}", options.prompt_tokens, tokens.size());
  std::vector<std::vector<int32_t>> prompts;
  const int64_t room = std::ssize(tokens) - options.prompt_tokens;
  for (int64_t i = 0; i < options.num_requests; ++i) {
    const auto first = tokens.begin() + room * i / options.num_requests;
    prompts.emplace_back(first, first + options.prompt_tokens);
  }
  std::vector<std::string> ways = {"none"};
  if (loaded.model->config().num_nextn_predict_layers > 0) ways.emplace_back("mtp");
  ways.emplace_back("lookup");
  std::vector<Round> best(ways.size());
  for (int64_t r = 0; r < options.rounds; ++r) {
    for (size_t w = 0; w < ways.size(); ++w) {
      Round round = RunRound(loaded, options, prompts, ways[w]);
      if (r == 0 || round.seconds < best[w].seconds) best[w] = std::move(round);
      if (options.cancelled && options.cancelled()) return {};
    }
  }
  std::vector<SpeculationResult> results;
  const auto share = [](int64_t part, int64_t whole) { return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0; };
  for (size_t w = 0; w < ways.size(); ++w) {
    const Round& round = best[w];
    SpeculationResult& result = results.emplace_back();
    result.way = ways[w];
    result.tokens_per_s = round.seconds > 0 ? static_cast<double>(round.decoded) / round.seconds : 0;
    result.tokens_per_step = share(round.decoded, round.steps);
    result.acceptance = share(round.accepted, round.drafted);
    for (size_t i = 0; i < prompts.size(); ++i) result.num_equal += round.answers[i] == best[0].answers[i] ? 1 : 0;
  }
  return results;
}

}  // namespace fathom
