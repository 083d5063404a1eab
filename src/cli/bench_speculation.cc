#include "cli/bench_speculation.h"

#include <ATen/Parallel.h>

#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "bench/speculation_bench.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/program.h"
#include "engine/catalogue.h"
#include "engine/loading.h"

namespace fathom {

int BenchSpeculationVerb(const SpeculationBenchFlags& flags, const CommonOptions& common) {
  FATHOM_USER_CHECK(!flags.file.empty(), "`bench speculation` needs --file TEXT, from which it takes its prompts, got none");
  const LoadedCheckpoint model = LoadForGeneration(ResolveModelPath(common.model), LoadOptionsOf(common));
  InterruptGuard guard;
  SpeculationBenchOptions options{.text = ReadFile(flags.file), .num_requests = flags.prompts, .prompt_tokens = flags.prompt_tokens,
                                  .new_tokens = flags.new_tokens, .cancelled = InterruptGuard::Interrupted};
  if (flags.sampled) options.sampling = {.temperature = 0.8, .top_k = 50, .top_p = 0.95};
  const std::vector<SpeculationResult> results = BenchSpeculation(model.loaded, options);
  if (InterruptGuard::Interrupted()) return kExitInterrupted;
  if (common.json) {
    OrderedJson json = {{"benchmark", "speculation"}, {"threads", at::get_num_threads()}, {"prompts", flags.prompts}, {"prompt_tokens", flags.prompt_tokens},
                        {"new_tokens", flags.new_tokens}, {"sampled", flags.sampled}, {"ways", OrderedJson::object()}};
    for (const SpeculationResult& r : results) {
      json["ways"][r.way] = {{"tokens_per_s", r.tokens_per_s}, {"ratio", r.tokens_per_s / results[0].tokens_per_s}, {"tokens_per_step", r.tokens_per_step},
                             {"acceptance", r.acceptance}, {"equal_answers", r.num_equal}};
    }
    std::printf("%s\n", json.dump().c_str());
    return kExitDone;
  }
  std::printf("%ld answers one by one, %ld tokens of prompt, %ld new, %s, %d threads\n", flags.prompts, flags.prompt_tokens, flags.new_tokens,
              flags.sampled ? "drawn (temperature 0.8, top-k 50, top-p 0.95)" : "greedy", at::get_num_threads());
  for (const SpeculationResult& r : results) {
    std::printf("  %-8s %9.1f tok/s  %5.2fx  %.2f tokens a step, %3.0f%% of guesses right, %ld answers equal\n", r.way.c_str(), r.tokens_per_s,
                r.tokens_per_s / results[0].tokens_per_s, r.tokens_per_step, 100 * r.acceptance, r.num_equal);
  }
  return kExitDone;
}

}  // namespace fathom
