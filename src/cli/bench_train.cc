#include "cli/bench_train.h"

#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "bench/machine.h"
#include "bench/random_model.h"
#include "bench/train_bench.h"
#include "cli/compute_device.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/program.h"

namespace fathom {
namespace {

TrainBenchOptions OptionsOf(const TrainBenchFlags& flags, const ModelConfig& config, int64_t batch, int64_t tokens) {
  FATHOM_USER_CHECK(flags.moments == "fp32" || flags.moments == "bf16", "--moments must be fp32 or bf16, got '{}'", flags.moments);
  FATHOM_USER_CHECK(flags.masters == "fp32" || flags.masters == "none", "--masters must be fp32 or none, got '{}'", flags.masters);
  FATHOM_USER_CHECK(flags.recompute == "none" || flags.recompute == "swiglu" || flags.recompute == "layers",
                    "--recompute must be none, swiglu or layers, got '{}'", flags.recompute);
  TrainBenchOptions options{.batch = batch, .tokens = tokens, .microbatches = flags.microbatches, .steps = flags.steps};
  options.profile = flags.profile;
  options.cancelled = InterruptGuard::Interrupted;
  options.trainer.optimizer.moments = flags.moments == "fp32" ? at::kFloat : at::kBFloat16;
  options.trainer.optimizer.masters = flags.masters == "fp32";
  options.trainer.schedule.peak = 1e-4;
  options.trainer.balance_gamma = config.routing == Routing::kNoauxTc ? 1e-3 : 0;
  options.trainer.recompute.swiglu = flags.recompute == "swiglu";
  if (flags.recompute == "layers") options.trainer.recompute.layers.assign(static_cast<size_t>(config.num_hidden_layers + config.num_nextn_predict_layers), true);
  return options;
}

}  // namespace

int BenchTrainVerb(const TrainBenchFlags& flags, const std::string& config_name, int64_t batch, int64_t tokens, const CommonOptions& common) {
  FATHOM_USER_CHECK(!config_name.empty(), "`bench train` trains random weights: it needs --config (moe-1b, v2-lite, v3-layer or a config.json), got none");
  const c10::Device device = ResolveDevice(common);
  const ModelConfig config = NamedConfig(config_name);
  const TrainBenchOptions options = OptionsOf(flags, config, batch, tokens);
  const at::ScalarType dtype = DtypeOfFlag(common.dtype);
  const double limit = MeasureLimits(device, at::kBFloat16).matrix_gflop_per_s / 1e3;
  InterruptGuard guard;
  const TrainBenchResult result = BenchTrain(MakeRandomModel(config, {.dtype = dtype, .device = device, .fp8_training = flags.fp8}), options);
  if (InterruptGuard::Interrupted()) return kExitInterrupted;
  const double tflop_per_s = result.flop_per_step / result.seconds_per_step / 1e12, gib = result.peak_bytes / (1 << 30);
  if (common.json) {
    const OrderedJson json = {{"benchmark", "train"}, {"config", config_name}, {"device", device.str()}, {"dtype", FlagOfDtype(dtype)},
                              {"moments", flags.moments}, {"masters", flags.masters}, {"recompute", flags.recompute}, {"fp8", flags.fp8}, {"batch", batch},
                              {"tokens", tokens}, {"microbatches", flags.microbatches}, {"steps", result.steps}, {"parameters", result.parameters},
                              {"active_parameters", result.active_parameters}, {"tokens_per_s", result.tokens_per_s},
                              {"ms_per_step", 1e3 * result.seconds_per_step}, {"tflop_per_s", tflop_per_s}, {"matrix_tflop_per_s", limit},
                              {"percent_of_matrix_rate", 100 * tflop_per_s / limit}, {"peak_gib", gib}, {"first_loss", result.first_loss},
                              {"last_loss", result.last_loss}};
    PrintJson(json);
    return kExitDone;
  }
  std::printf("train %s on %s: weights %s, masters %s, moments %s, recompute %s, products %s; %ld x %ld tokens in %ld microbatches\n", config_name.c_str(),
              device.str().c_str(), FlagOfDtype(dtype).c_str(), flags.masters.c_str(), flags.moments.c_str(), flags.recompute.c_str(), flags.fp8 ? "FP8" : FlagOfDtype(dtype).c_str(), batch, tokens,
              flags.microbatches);
  std::printf("  %.3fB parameters, %.3fB active\n", static_cast<double>(result.parameters) / 1e9, static_cast<double>(result.active_parameters) / 1e9);
  std::printf("  %10.0f tok/s     %.2f ms a step (median of %ld)\n", result.tokens_per_s, 1e3 * result.seconds_per_step, result.steps);
  std::printf("  %10.1f TFLOP/s   (6 a token and active parameter), %.0f%% of the measured product of %.0f\n", tflop_per_s, 100 * tflop_per_s / limit, limit);
  if (gib > 0) std::printf("  %10.1f GiB       at most on the device\n", gib);
  std::printf("  loss %.4f in the first step, %.4f in the last\n", result.first_loss, result.last_loss);
  if (!result.kernels.empty()) std::printf("one step by kernel: %s", FormatProfile(result.kernels, 48).c_str());
  return kExitDone;
}

}  // namespace fathom
