#include "cli/bench_serve.h"

#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>

#include <cstdio>

#include "base/json.h"
#include "bench/serve_bench.h"
#include "bench/structured_bench.h"
#include "cli/arguments.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/program.h"
#include "cli/verb_options.h"
#include "engine/catalogue.h"
#include "engine/loading.h"
#include "engine/schema_grammar.h"

namespace fathom {

void AddServeBenchFlags(CLI::App& verb, ServeBenchFlags& flags) {
  AddText(verb, "--url", flags.url, "`bench serve`: load this server of OpenAI's API; without it the engine is measured beside static batches")->type_name("URL");
  AddText(verb, "--api-key", flags.api_key, "for --url")->type_name("KEY");
  AddInteger(verb, "--requests", flags.requests, "`bench serve`: so many, of lognormal lengths (128)", 1, 1 << 20);
  AddInteger(verb, "--concurrency", flags.concurrency, "`bench serve --url`: at once (16)", 1, 4096);
  AddNumber(verb, "--rate", flags.rate, "`bench serve --url`: Poisson arrivals, so many a second, instead of --concurrency", {.least = 0, .most = 1e6, .above = true});
  AddInteger(verb, "--max-tokens", flags.most_tokens, "`bench serve`: the longest prompt and the longest answer (1024)", 4, 1 << 20);
  AddNumber(verb, "--ttft-limit-ms", flags.ttft_limit_ms, "what goodput counts as good: time to the first token (2000)", {.least = 0, .above = true});
  AddNumber(verb, "--itl-limit-ms", flags.itl_limit_ms, "and the mean time of a token after it (200)", {.least = 0, .above = true});
  AddText(verb, "--json-schema", flags.schema, "`bench serve`: what answers of this schema cost beside free ones (--concurrency at once); it must have room for 64 tokens")->type_name("JSON");
  AddSwitch(verb, "--no-static", flags.no_static, "`bench serve`: the engine alone");
  AddInteger(verb, "--shared-prompt", flags.shared_prompt, "`bench serve`: time to the first token of a prompt that begins with so many tokens, the first and the second time", 64, 1 << 20);
}

int BenchServer(const ServeBenchFlags& flags, const CommonOptions& common) {
  InterruptGuard guard;
  const LoadResult r = BenchLoad({.url = flags.url, .api_key = flags.api_key, .num_requests = flags.requests, .concurrency = flags.concurrency, .rate = flags.rate,
                                  .mix = {.most = flags.most_tokens, .seed = common.seed}, .ttft_limit_s = flags.ttft_limit_ms / 1e3,
                                  .itl_limit_s = flags.itl_limit_ms / 1e3, .cancelled = InterruptGuard::Interrupted});
  if (InterruptGuard::Interrupted()) return kExitInterrupted;
  const auto rate = [&](int64_t count) { return static_cast<double>(count) / r.seconds; };
  if (common.json) {
    const auto ms = [](const Percentiles& p) { return OrderedJson{{"p50", 1e3 * p.p50}, {"p95", 1e3 * p.p95}, {"p99", 1e3 * p.p99}}; };
    const OrderedJson json = {{"benchmark", "serve"},          {"url", flags.url},
                              {"requests", flags.requests},    {"done", r.num_done},
                              {"failed", r.num_failed},        {"seconds", r.seconds},
                              {"prompt_tokens", r.prompt_tokens}, {"new_tokens", r.new_tokens},
                              {"tokens_per_s", rate(r.new_tokens)}, {"ttft_ms", ms(r.first_token_s)},
                              {"itl_ms", ms(r.between_tokens_s)}, {"e2e_ms", ms(r.whole_s)},
                              {"good_requests_per_s", r.good_per_s}};
    PrintJson(json);
  } else {
    const auto line = [](const char* name, const Percentiles& p) { std::printf("  %-22s p50 %9.1f ms   p95 %9.1f ms   p99 %9.1f ms\n", name, 1e3 * p.p50, 1e3 * p.p95, 1e3 * p.p99); };
    std::printf("%s: %ld of %ld requests done in %.1f s, %.1f tok/s (%ld tokens of prompts, %ld new)\n", flags.url.c_str(), r.num_done, flags.requests, r.seconds,
                rate(r.new_tokens), r.prompt_tokens, r.new_tokens);
    line("to the first token", r.first_token_s);
    line("between two tokens", r.between_tokens_s);
    line("whole", r.whole_s);
    std::printf("  goodput %.2f requests/s (first token within %.0f ms, then %.0f ms a token)\n", r.good_per_s, flags.ttft_limit_ms, flags.itl_limit_ms);
    if (r.num_failed > 0) std::printf("  first failure: %s\n", r.first_failure.c_str());
  }
  return r.num_failed > 0 ? kExitMachine : kExitDone;
}

namespace {

int BenchSharedPromptVerb(const ServeBenchFlags& flags, const std::shared_ptr<Model>& model, const CommonOptions& common) {
  InterruptGuard guard;
  const SharedPromptOptions options{.shared_tokens = flags.shared_prompt, .cancelled = InterruptGuard::Interrupted};
  const SharedPromptResult r = BenchSharedPrompt(model, options);
  if (InterruptGuard::Interrupted()) return kExitInterrupted;
  const double ratio = r.first_s / r.second_s;
  if (common.json) {
    const auto one = [](double seconds, int64_t run) { return OrderedJson{{"ttft_ms", 1e3 * seconds}, {"prompt_tokens_run", run}}; };
    const OrderedJson json = {{"benchmark", "shared_prompt"}, {"threads", at::get_num_threads()}, {"shared_tokens", options.shared_tokens},
                              {"own_tokens", options.own_tokens}, {"first", one(r.first_s, r.first_run)}, {"second", one(r.second_s, r.second_run)}, {"ratio", ratio}};
    PrintJson(json);
    return kExitDone;
  }
  std::printf("two prompts that begin with the same %ld tokens and have %ld of their own, %d threads, median of %ld\n", options.shared_tokens, options.own_tokens,
              at::get_num_threads(), options.rounds);
  std::printf("  first   %9.1f ms to the first token, %ld tokens run\n  second  %9.1f ms to the first token, %ld tokens run\n  ratio   %9.2fx\n", 1e3 * r.first_s,
              r.first_run, 1e3 * r.second_s, r.second_run, ratio);
  return kExitDone;
}

}  // namespace

int BenchSchema(const ServeBenchFlags& flags, const CommonOptions& common) {
  EbnfWriter writer;
  const std::string root = SchemaToEbnf(ParseOrderedJson(flags.schema, "--json-schema"), writer, "--json-schema");
  const LoadedCheckpoint model = LoadForGeneration(ResolveModelPath(common.model), LoadOptionsOf(common));
  InterruptGuard guard;
  const StructuredBenchOptions options{.ebnf = writer.Text(root), .batch = flags.concurrency, .cancelled = InterruptGuard::Interrupted};
  const StructuredBenchResult r = BenchStructured(model.loaded, options);
  if (InterruptGuard::Interrupted()) return kExitInterrupted;
  const double ratio = r.formed_tokens_per_s / r.free_tokens_per_s;
  if (common.json) {
    const OrderedJson json = {{"benchmark", "json_schema"}, {"threads", at::get_num_threads()}, {"batch", options.batch}, {"free_tokens_per_s", r.free_tokens_per_s},
                              {"schema_tokens_per_s", r.formed_tokens_per_s}, {"ratio", ratio}, {"mask_us", r.mask_us}, {"compile_s", r.compile_s}};
    PrintJson(json);
    return kExitDone;
  }
  std::printf("%ld answers of %ld tokens at once, greedy, %d threads; medians of %ld rounds in turns\n", options.batch, options.new_tokens, at::get_num_threads(), options.rounds);
  std::printf("  %-24s %9.1f tok/s  (%.2f ms a step)\n", "free", r.free_tokens_per_s, 1e3 * r.seconds_per_step);
  std::printf("  %-24s %9.1f tok/s  %.1f%% of it\n", "held to the schema", r.formed_tokens_per_s, 100 * ratio);
  std::printf("  %-24s %9.1f us a token of one core; compiled in %.0f ms, once\n", "sets of allowed tokens", r.mask_us, 1e3 * r.compile_s);
  return kExitDone;
}

int BenchBatching(const ServeBenchFlags& flags, const std::shared_ptr<Model>& model, const CommonOptions& common) {
  if (flags.shared_prompt > 0) return BenchSharedPromptVerb(flags, model, common);
  InterruptGuard guard;
  const EngineBenchOptions options{.num_requests = flags.requests, .mix = {.most = flags.most_tokens, .seed = common.seed}, .cancelled = InterruptGuard::Interrupted};
  const ThroughputResult engine = BenchEngine(model, options);
  const ThroughputResult fixed = flags.no_static ? ThroughputResult{} : BenchStaticBatches(model, options);
  if (InterruptGuard::Interrupted()) return kExitInterrupted;
  const double ratio = flags.no_static ? 0 : engine.tokens_per_s() / fixed.tokens_per_s();
  if (common.json) {
    const auto one = [](const ThroughputResult& r) {
      return OrderedJson{{"tokens_per_s", r.tokens_per_s()}, {"seconds", r.seconds}, {"steps", r.steps}, {"new_tokens", r.new_tokens}};
    };
    OrderedJson json = {{"benchmark", "serve"}, {"threads", at::get_num_threads()}, {"requests", flags.requests}, {"engine", one(engine)}};
    if (!flags.no_static) json.update({{"static_batches", one(fixed)}, {"ratio", ratio}});
    PrintJson(json);
    return kExitDone;
  }
  std::printf("%ld requests at once, lognormal lengths (median 100, sigma 1, 4 to %ld), %d threads\n", flags.requests, flags.most_tokens, at::get_num_threads());
  const auto line = [](const char* name, const ThroughputResult& r) { std::printf("  %-24s %9.1f tok/s  %ld tokens in %.1f s, %ld steps\n", name, r.tokens_per_s(), r.new_tokens, r.seconds, r.steps); };
  line("continuous batching", engine);
  if (!flags.no_static) {
    line("static batches of 16", fixed);
    std::printf("  %-24s %9.2fx\n", "ratio", ratio);
  }
  return kExitDone;
}

}  // namespace fathom
