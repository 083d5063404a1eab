// fathom bench: speed beside this machine's measured limits.
#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "bench/machine.h"
#include "bench/model_bench.h"
#include "bench/ops_bench.h"
#include "bench/random_model.h"
#include "bench/tokenizer_bench.h"
#include "cli/arguments.h"
#include "cli/bench_serve.h"
#include "cli/bench_train.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/program.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"
#include "engine/loading.h"
#include "engine/random.h"

namespace fathom {
namespace {

struct BenchFlags {
  std::string kind, config, file;
  int64_t batch = 1, prompt_tokens = 512, new_tokens = 64;
  TrainBenchFlags train;
  ServeBenchFlags serve;
};

double Percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

std::shared_ptr<Model> LoadOrMake(const BenchFlags& flags, const CommonOptions& common) {
  if (!flags.config.empty()) {
    return MakeRandomModel(NamedConfig(flags.config), {.dtype = DtypeOfFlag(common.dtype), .device = ResolveDevice(common),
                                                       .device_layers = common.gpu_layers, .host_experts = common.cpu_moe});
  }
  return LoadForGeneration(ResolveModelPath(common.model), LoadOptionsOf(common, false)).loaded.model;
}

int BenchModel(const BenchFlags& flags, const CommonOptions& common) {
  FATHOM_USER_CHECK(flags.config.empty() || common.model.empty(), "give --model or --config, not both: got {} and {}", common.model, flags.config);
  const std::shared_ptr<Model> model = LoadOrMake(flags, common);
  const at::ScalarType dtype = model->options().dtype;
  const MachineLimits limits = MeasureLimits(model->options().device, dtype);
  InterruptGuard guard;
  const ModelBenchOptions options{.batch = flags.batch, .prompt_tokens = flags.prompt_tokens, .new_tokens = flags.new_tokens,
                                  .cancelled = InterruptGuard::Interrupted};
  const ModelBenchResult result = flags.kind == "decode" ? BenchDecode(model, options) : BenchPrefill(model, options);
  if (InterruptGuard::Interrupted()) return kExitInterrupted;
  const double gb_per_s = result.bytes_per_step / result.seconds_per_step / 1e9;
  const double gflop_per_s = result.flop_per_step / result.seconds_per_step / 1e9;
  if (common.json) {
    const OrderedJson json = {{"benchmark", flags.kind},
                        {"dtype", FlagOfDtype(dtype)},
                        {"device", model->options().device.str()},
                        {"threads", at::get_num_threads()},
                        {"batch", flags.batch},
                        {"prompt_tokens", flags.prompt_tokens},
                        {"steps", result.steps},
                        {"tokens_per_s", result.tokens_per_s},
                        {"ms_per_step", 1e3 * result.seconds_per_step},
                        {"bytes_per_step", result.bytes_per_step},
                        {"flop_per_step", result.flop_per_step},
                        {"gb_per_s", gb_per_s},
                        {"gflop_per_s", gflop_per_s},
                        {"machine", {{"memory_gb_per_s", limits.memory_gb_per_s}, {"matrix_gflop_per_s", limits.matrix_gflop_per_s}}},
                        {"percent_of_memory_bandwidth", Percent(gb_per_s, limits.memory_gb_per_s)},
                        {"percent_of_matrix_rate", Percent(gflop_per_s, limits.matrix_gflop_per_s)}};
    std::printf("%s\n", json.dump().c_str());
    return kExitDone;
  }
  std::printf("%s, %s on %s, %d threads: batch %ld, %ld tokens of prompt\n", flags.kind.c_str(), FlagOfDtype(dtype).c_str(),
              model->options().device.str().c_str(), at::get_num_threads(), flags.batch, flags.prompt_tokens);
  std::printf("  %10.1f tok/s    %.3f ms a step (median of %ld)\n", result.tokens_per_s, 1e3 * result.seconds_per_step, result.steps);
  std::printf("  %10.1f GB/s     %.3f GB a step", gb_per_s, result.bytes_per_step / 1e9);
  std::printf(", %.0f%% of the measured %.1f GB/s", Percent(gb_per_s, limits.memory_gb_per_s), limits.memory_gb_per_s);
  std::printf("\n  %10.1f GFLOP/s  %.3f GFLOP a step", gflop_per_s, result.flop_per_step / 1e9);
  std::printf(", %.0f%% of the measured %.1f GFLOP/s", Percent(gflop_per_s, limits.matrix_gflop_per_s), limits.matrix_gflop_per_s);
  std::printf("\n");
  return kExitDone;
}

int RunOpsBench(const CommonOptions& common) {
  const at::ScalarType dtype = DtypeOfFlag(common.dtype);
  const MachineLimits limits = MeasureLimits(at::kCPU, dtype);
  OrderedJson list = OrderedJson::array();
  if (!common.json) {
    std::printf("%d threads, %s; measured limits: %.1f GB/s read, %.1f GFLOP/s product\n", at::get_num_threads(), FlagOfDtype(dtype).c_str(),
                limits.memory_gb_per_s, limits.matrix_gflop_per_s);
  }
  for (const OpResult& op : BenchOps({.dtype = dtype})) {
    const bool memory_bound = op.bytes > 0;
    const double rate = memory_bound ? op.gigabytes_per_s() : op.gigaflop_per_s();
    const double percent = Percent(rate, memory_bound ? limits.memory_gb_per_s : limits.matrix_gflop_per_s);
    if (!common.json) {
      std::printf("  %-24s %-32s %10.1f us %9.1f %-7s %4.0f%%\n", op.name.c_str(), op.shape.c_str(), 1e6 * op.seconds, rate,
                  memory_bound ? "GB/s" : "GFLOP/s", percent);
    }
    list.push_back({{"name", op.name}, {"shape", op.shape}, {"us", 1e6 * op.seconds}, {"bytes", op.bytes}, {"flop", op.flop}, {"percent_of_limit", percent}});
  }
  if (common.json) {
    const OrderedJson json = {{"benchmark", "ops"}, {"dtype", FlagOfDtype(dtype)}, {"threads", at::get_num_threads()},
                              {"machine", {{"memory_gb_per_s", limits.memory_gb_per_s}, {"matrix_gflop_per_s", limits.matrix_gflop_per_s}}}, {"ops", list}};
    std::printf("%s\n", json.dump().c_str());
  }
  return kExitDone;
}

// 10 MB of sentences, code and numbers in several scripts, in a random order that is always the same.
std::string MixedText() {
  const char* kPieces[] = {"The quick brown fox jumps over the lazy dog. ", "It's 3.14159, isn't it? ", "for (int i = 0; i < n; ++i) {\n    sum += a[i];\n}\n",
                           "Größe und Maß, naïve façade. ", "\xe6\xb5\xb7\xe6\x98\xaf\xe8\x93\x9d\xe8\x89\xb2\xe7\x9a\x84\xe3\x80\x82", "def f(x):\n\treturn {'key': x ** 2}\n",
                           "\xd0\x9c\xd0\xbe\xd1\x80\xd0\xb5 \xd1\x81\xd0\xb8\xd0\xbd\xd0\xb5\xd0\xb5. ", "\n\n## Heading\n\n- item one\n- item two\n", "\xf0\x9f\x90\xb3 "};
  RandomStream random(1, 0);
  std::string text;
  while (text.size() < 10'000'000) {
    text += kPieces[static_cast<size_t>(random.Uniform() * static_cast<double>(std::size(kPieces)))];
    if (random.Uniform() < 0.2) text += std::to_string(static_cast<int64_t>(random.Uniform() * 1e9)) + " ";
  }
  return text;
}

int RunTokenizerBench(const BenchFlags& flags, const CommonOptions& common) {
  const std::string text = flags.file.empty() ? MixedText() : ReadFile(flags.file);
  const int threads = common.threads > 0 ? common.threads : 1;
  const TokenizerBenchResult result = BenchTokenizer(ResolveModelPath(common.model), text, threads);
  if (common.json) {
    const OrderedJson json = {{"benchmark", "tokenizer"},       {"threads", threads},
                              {"bytes", text.size()},           {"num_tokens", result.num_tokens},
                              {"seconds", result.seconds},      {"mb_per_s", result.mb_per_s},
                              {"tokens_per_s", result.tokens_per_s}, {"load_seconds", result.load_seconds}};
    std::printf("%s\n", json.dump().c_str());
    return kExitDone;
  }
  std::printf("tokenizer, %d threads: %.1f MB of text, %ld tokens\n", threads, static_cast<double>(text.size()) / 1e6, result.num_tokens);
  std::printf("  %10.1f MB/s  %.0f tok/s; loaded in %.2f s\n", result.mb_per_s, result.tokens_per_s, result.load_seconds);
  return kExitDone;
}

int RunBench(const BenchFlags& flags, const CommonOptions& common) {
  FATHOM_USER_CHECK(!flags.kind.empty(), "`fathom bench` needs what to measure: decode, prefill, train, serve, ops or tokenizer, got none");
  FATHOM_USER_CHECK(flags.serve.url.empty() || flags.kind == "serve", "--url is for `bench serve`, got {}", flags.serve.url);
  if (flags.kind == "serve") return flags.serve.url.empty() ? BenchBatching(flags.serve, LoadOrMake(flags, common), common) : BenchServer(flags.serve, common);
  if (flags.kind == "decode" || flags.kind == "prefill") return BenchModel(flags, common);
  if (flags.kind == "train") return BenchTrainVerb(flags.train, flags.config, flags.batch, flags.prompt_tokens, common);
  FATHOM_USER_CHECK(flags.kind == "ops" || flags.kind == "tokenizer", "`fathom bench` measures decode, prefill, train, serve, ops or tokenizer, got '{}'",
                    flags.kind);
  FATHOM_USER_CHECK(flags.config.empty(), "--config is for `bench decode`, `prefill`, `train` and `serve`, got {}", flags.config);
  if (flags.kind == "tokenizer") return RunTokenizerBench(flags, common);
  FATHOM_USER_CHECK(common.model.empty(), "`bench ops` has shapes of its own and takes no --model, got {}", common.model);
  return RunOpsBench(common);
}

}  // namespace

VerbFunction AddBench(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* verb = app.add_subcommand("bench", "speed beside this machine's measured limits");
  verb->add_option("kind", flags->kind, "decode, prefill, train, serve, ops or tokenizer")->type_name("");
  AddText(*verb, "--config", flags->config, "random weights of this shape: v2-lite, v3-layer, moe-1b or a config.json")->type_name("C");
  AddText(*verb, "--file", flags->file, "the text of `bench tokenizer` (10 MB of mixed text)")->type_name("F");
  AddInteger(*verb, "--batch", flags->batch, "sequences at once (1)", 1, 4096);
  AddInteger(*verb, "--prompt-tokens", flags->prompt_tokens, "of each sequence (512); train: its length", 1);
  AddInteger(*verb, "--new-tokens", flags->new_tokens, "steps of decode that are measured (64)", 1);
  AddText(*verb, "--moments", flags->train.moments, "train: the optimizer's moments, fp32 or bf16 (fp32)");
  AddText(*verb, "--masters", flags->train.masters, "train: float32 copies of 16-bit weights, fp32 or none (fp32)");
  AddSwitch(*verb, "--fp8", flags->train.fp8, "train: the matrices' products in FP8, as DeepSeek-V3's report describes");
  AddText(*verb, "--recompute", flags->train.recompute, "train: what the backward makes again: none, swiglu or layers (none)");
  AddInteger(*verb, "--microbatches", flags->train.microbatches, "train: parts that the batch is cut into (1)", 1);
  AddSwitch(*verb, "--profile", flags->train.profile, "train: one more step, with its kernels by name");
  AddInteger(*verb, "--steps", flags->train.steps, "train: steps that are measured (8)", 1);
  AddServeBenchFlags(*verb, flags->serve);
  AddCommonOptions(*verb, common, kModelFlag | kJsonFlag);
  verb->footer(
      "Examples:\n  fathom bench decode --threads 2\n  fathom bench prefill --prompt-tokens 512 --json\n"
      "  fathom bench decode --config v2-lite --batch 8\n  fathom bench train --config moe-1b --batch 8 --prompt-tokens 2048\n"
      "  fathom bench serve\n  fathom bench serve --url http://127.0.0.1:8000 --concurrency 32\n  fathom bench ops\n"
      "  fathom bench tokenizer --file book.txt --threads 1");
  return [flags, &common] { return RunBench(*flags, common); };
}

}  // namespace fathom
