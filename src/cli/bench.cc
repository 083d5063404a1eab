// fathom bench: speed beside this machine's measured limits.
#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "bench/cuda_ops/cuda_ops.h"
#include "bench/machine.h"
#include "bench/model_bench.h"
#include "bench/ops_bench.h"
#include "bench/random_model.h"
#include "bench/tokenizer_bench.h"
#include "cli/arguments.h"
#include "cli/bench_serve.h"
#include "cli/bench_speculation.h"
#include "cli/bench_train.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/program.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"
#include "engine/loading.h"
#include "engine/random.h"

namespace fathom {
namespace {

struct BenchFlags {
  std::string kind, config, file, filter;
  int64_t batch = 1, prompt_tokens = 512, new_tokens = 64, prompts = 16;
  bool sampled = false;
  TrainBenchFlags train;
  ServeBenchFlags serve;
};

double Percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

std::shared_ptr<Model> LoadOrMake(const BenchFlags& flags, const CommonOptions& common) {
  if (!flags.config.empty()) {
    return MakeRandomModel(NamedConfig(flags.config), {.dtype = DtypeOfFlag(common.dtype), .device = ResolveDevice(common),
                                                       .device_layers = common.gpu_layers, .host_experts = common.cpu_moe,
                                                       .kv_cache = CacheFormatOf(common)});
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
                                  .sampled = flags.sampled, .profile = flags.train.profile, .cancelled = InterruptGuard::Interrupted};
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
                        {"sampled", flags.sampled},
                        {"kv_cache_dtype", common.kv_cache_dtype},
                        {"cache_bytes_per_token", result.cache_bytes_per_token},
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
    PrintJson(json);
    return kExitDone;
  }
  std::printf("%s, %s on %s, %d threads: batch %ld, %ld tokens of prompt%s\n", flags.kind.c_str(), FlagOfDtype(dtype).c_str(),
              model->options().device.str().c_str(), at::get_num_threads(), flags.batch, flags.prompt_tokens, flags.sampled ? ", sampled" : "");
  std::printf("  %10.1f tok/s    %.3f ms a step (median of %ld)\n", result.tokens_per_s, 1e3 * result.seconds_per_step, result.steps);
  std::printf("  %10.1f GB/s     %.3f GB a step", gb_per_s, result.bytes_per_step / 1e9);
  std::printf(", %.0f%% of the measured %.1f GB/s", Percent(gb_per_s, limits.memory_gb_per_s), limits.memory_gb_per_s);
  if (flags.kind == "decode") std::printf("\n  %10.1f KB       of cache a token", result.cache_bytes_per_token / 1e3);
  std::printf("\n  %10.1f GFLOP/s  %.3f GFLOP a step", gflop_per_s, result.flop_per_step / 1e9);
  std::printf(", %.0f%% of the measured %.1f GFLOP/s", Percent(gflop_per_s, limits.matrix_gflop_per_s), limits.matrix_gflop_per_s);
  std::printf("\n");
  if (!result.kernels.empty()) std::printf("one step by kernel: %s", FormatProfile(result.kernels, 48).c_str());
  return kExitDone;
}

// The larger of both shares: the one that bounds it.
double PercentOfLimit(const OpResult& op, const MachineLimits& limits) {
  if (op.seconds <= 0) return 0;
  return std::max(Percent(op.gigabytes_per_s(), limits.memory_gb_per_s), Percent(op.gigaflop_per_s(), limits.matrix_gflop_per_s));
}

void PrintOp(const OpResult& op, const MachineLimits& limits) {
  if (!op.error.empty()) {
    std::printf("  %-24s %-32s failed: %s\n", op.name.c_str(), op.shape.c_str(), op.error.c_str());
    return;
  }
  std::printf("  %-24s %-32s %10.1f us", op.name.c_str(), op.shape.c_str(), 1e6 * op.seconds);
  if (op.bytes > 0) std::printf(" %9.1f GB/s", op.gigabytes_per_s());
  if (op.flop > 0) std::printf(" %9.1f GFLOP/s", op.gigaflop_per_s());
  std::printf(" %4.0f%%", PercentOfLimit(op, limits));
  if (op.times_peer > 0) std::printf("  x%.2f", op.times_peer);
  std::printf("\n");
  std::fflush(stdout);
}

int RunOpsBench(const BenchFlags& flags, const CommonOptions& common) {
  const c10::Device device = ResolveDevice(common);
  const at::ScalarType dtype = DtypeOfFlag(common.dtype);
  FATHOM_USER_CHECK(device.is_cpu() || dtype == at::kBFloat16, "`bench ops` on a CUDA device is of bf16 and FP8, got --dtype {}", common.dtype);
  const MachineLimits limits = MeasureLimits(device, dtype);
  if (!common.json) {
    std::printf("%s, %d threads, %s; measured limits: %.1f GB/s %s, %.1f GFLOP/s product\n", device.str().c_str(), at::get_num_threads(),
                FlagOfDtype(dtype).c_str(), limits.memory_gb_per_s, device.is_cuda() ? "copied (read and written)" : "read", limits.matrix_gflop_per_s);
  }
  OrderedJson list = OrderedJson::array();
  const auto take = [&](const OpResult& op) {
    if (!common.json) PrintOp(op, limits);
    OrderedJson json = {{"name", op.name}, {"shape", op.shape}, {"us", 1e6 * op.seconds}, {"bytes", op.bytes}, {"flop", op.flop}};
    json["percent_of_limit"] = PercentOfLimit(op, limits);
    if (op.times_peer > 0) json["times_peer"] = op.times_peer;
    if (!op.error.empty()) json["error"] = op.error;
    list.push_back(std::move(json));
  };
  InterruptGuard guard;
  if (device.is_cuda()) {
    BenchCudaOps({.filter = flags.filter, .on_result = take, .cancelled = InterruptGuard::Interrupted});
  } else {
    FATHOM_USER_CHECK(flags.filter.empty(), "--filter is for `bench ops` on a CUDA device, got '{}'", flags.filter);
    for (const OpResult& op : BenchOps({.dtype = dtype})) take(op);
  }
  if (InterruptGuard::Interrupted()) return kExitInterrupted;
  if (common.json) {
    const OrderedJson json = {{"benchmark", "ops"}, {"device", device.str()}, {"dtype", FlagOfDtype(dtype)}, {"threads", at::get_num_threads()},
                              {"machine", {{"memory_gb_per_s", limits.memory_gb_per_s}, {"matrix_gflop_per_s", limits.matrix_gflop_per_s}}}, {"ops", list}};
    PrintJson(json);
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
    PrintJson(json);
    return kExitDone;
  }
  std::printf("tokenizer, %d threads: %.1f MB of text, %ld tokens\n", threads, static_cast<double>(text.size()) / 1e6, result.num_tokens);
  std::printf("  %10.1f MB/s  %.0f tok/s; loaded in %.2f s\n", result.mb_per_s, result.tokens_per_s, result.load_seconds);
  return kExitDone;
}

int RunBench(const BenchFlags& flags, const CommonOptions& common) {
  FATHOM_USER_CHECK(!flags.kind.empty(), "`fathom bench` needs what to measure: decode, prefill, train, serve, speculation, ops or tokenizer, got none");
  FATHOM_USER_CHECK(flags.serve.url.empty() || flags.kind == "serve", "--url is for `bench serve`, got {}", flags.serve.url);
  FATHOM_USER_CHECK(flags.serve.schema.empty() || (flags.kind == "serve" && flags.serve.url.empty()), "--json-schema is for `bench serve` without --url, got {}", flags.kind);
  if (!flags.serve.schema.empty()) return BenchSchema(flags.serve, common);
  if (flags.kind == "serve") return flags.serve.url.empty() ? BenchBatching(flags.serve, LoadOrMake(flags, common), common) : BenchServer(flags.serve, common);
  if (flags.kind == "decode" || flags.kind == "prefill") return BenchModel(flags, common);
  if (flags.kind == "train") return BenchTrainVerb(flags.train, flags.config, flags.batch, flags.prompt_tokens, common);
  if (flags.kind == "speculation") {
    return BenchSpeculationVerb({.file = flags.file, .prompts = flags.prompts, .prompt_tokens = flags.prompt_tokens, .new_tokens = flags.new_tokens,
                                 .sampled = flags.sampled}, common);
  }
  FATHOM_USER_CHECK(flags.kind == "ops" || flags.kind == "tokenizer", "`fathom bench` measures decode, prefill, train, serve, speculation, ops or tokenizer, got '{}'",
                    flags.kind);
  FATHOM_USER_CHECK(flags.filter.empty() || flags.kind == "ops", "--filter is for `bench ops`, got '{}'", flags.filter);
  FATHOM_USER_CHECK(flags.config.empty(), "--config is for `bench decode`, `prefill`, `train` and `serve`, got {}", flags.config);
  if (flags.kind == "tokenizer") return RunTokenizerBench(flags, common);
  FATHOM_USER_CHECK(common.model.empty(), "`bench ops` has shapes of its own and takes no --model, got {}", common.model);
  return RunOpsBench(flags, common);
}

}  // namespace

VerbFunction AddBench(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* verb = app.add_subcommand("bench", "speed beside this machine's measured limits");
  verb->add_option("kind", flags->kind, "decode, prefill, train, serve, speculation, ops or tokenizer")->type_name("");
  AddText(*verb, "--config", flags->config, "random weights of this shape: v2-lite, v3-layer, moe-1b or a config.json")->type_name("C");
  AddText(*verb, "--filter", flags->filter, "ops on a CUDA device: only those whose name or shape has this")->type_name("TEXT");
  AddText(*verb, "--file", flags->file, "the text of `bench tokenizer` (10 MB of mixed text) and `bench speculation`")->type_name("F");
  AddInteger(*verb, "--batch", flags->batch, "sequences at once (1)", 1, 4096);
  AddInteger(*verb, "--prompt-tokens", flags->prompt_tokens, "of each sequence (512); train: its length", 1);
  AddInteger(*verb, "--new-tokens", flags->new_tokens, "steps of decode that are measured (64)", 1);
  AddInteger(*verb, "--prompts", flags->prompts, "speculation: pieces of the text, each with an answer (16)", 1, 4096);
  AddSwitch(*verb, "--sampled", flags->sampled, "decode, speculation: draw tokens (temperature 0.8, top-k 50, top-p 0.95, repetition penalty 1.1 in decode), not the best");
  AddText(*verb, "--moments", flags->train.moments, "train: the optimizer's moments, fp32 or bf16 (fp32)");
  AddText(*verb, "--masters", flags->train.masters, "train: float32 copies of 16-bit weights, fp32 or none (fp32)");
  AddSwitch(*verb, "--fp8", flags->train.fp8, "train: the matrices' products in FP8, as DeepSeek-V3's report describes");
  AddText(*verb, "--recompute", flags->train.recompute, "train: what the backward makes again: none, swiglu or layers (none)");
  AddInteger(*verb, "--microbatches", flags->train.microbatches, "train: parts that the batch is cut into (1)", 1);
  AddSwitch(*verb, "--profile", flags->train.profile, "train, decode: one more step, with its kernels by name");
  AddInteger(*verb, "--steps", flags->train.steps, "train: steps that are measured (8)", 1);
  AddServeBenchFlags(*verb, flags->serve);
  AddCommonOptions(*verb, common, kModelFlag | kJsonFlag | kCacheFlag);
  verb->footer(
      "Examples:\n  fathom bench decode --threads 2\n  fathom bench prefill --prompt-tokens 512 --json\n"
      "  fathom bench decode --config v2-lite --batch 8\n  fathom bench train --config moe-1b --batch 8 --prompt-tokens 2048\n"
      "  fathom bench serve\n  fathom bench serve --url http://127.0.0.1:8000 --concurrency 32\n  fathom bench ops --device cuda --filter mla\n"
      "  fathom bench tokenizer --file book.txt --threads 1\n  fathom bench speculation --model DIR --file held_out.txt");
  return [flags, &common] { return RunBench(*flags, common); };
}

}  // namespace fathom
