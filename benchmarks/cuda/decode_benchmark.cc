// Decode steps of a model of DeepSeek-V2-Lite's shape with random weights, made on the device, beside the limit that the device's own copy
// bandwidth sets for the bytes that a step must read:
//   bench_cuda_decode [--eager] [BATCH...]
// --eager: without graphs, one step after the warm-up, for a profiler.
#include <ATen/ops/empty.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bench/random_model.h"
#include "engine/model_runner.h"
#include "model/weight_table.h"
#include "ops/cuda_backend.h"

namespace {

using namespace fathom;

double CopyBandwidth() {
  const auto options = at::TensorOptions().dtype(at::kBFloat16).device(at::kCUDA);
  const at::Tensor source = at::randn({1 << 30}, options);
  at::Tensor target = at::empty({1 << 30}, options);
  const FathomCudaTable& table = *ops::CudaTable();
  void *start = table.event_create(), *stop = table.event_create();
  float ms = 0;
  at::neg_out(target, source);
  table.event_record(start);
  for (int i = 0; i < 10; ++i) at::neg_out(target, source);
  table.event_record(stop);
  table.event_elapsed_ms(start, stop, &ms);
  return 10 * 4.0 * (1 << 30) / (ms * 1e-3);
}

// Bytes that a step of `batch` tokens reads, each with `context` keys: weights once, an expert's where a token is expected to choose it.
double BytesOfStep(const ModelConfig& config, int64_t batch, double context) {
  const double share = static_cast<double>(config.num_experts_per_tok) / config.n_routed_experts;
  const double touched = 1 - std::pow(1 - share, static_cast<double>(batch));
  double bytes = 0;
  for (const WeightSpec& spec : ListWeights(config)) {
    double numel = 1;
    for (const int64_t n : spec.shape) numel *= static_cast<double>(n);
    if (spec.kind == WeightKind::kEmbedding) numel = static_cast<double>(batch * config.hidden_size);
    bytes += 2 * numel * (spec.is_routed_expert ? touched : 1);
  }
  return bytes + 2.0 * static_cast<double>(batch) * context * config.num_hidden_layers * config.kv_values_per_token_per_layer();
}

}  // namespace

int main(int argc, char** argv) {
  std::string why;
  if (!ops::LoadCudaBackend(&why)) {
    fmt::print(stderr, "error: {}\n", why);
    return 1;
  }
  std::vector<int64_t> batches;
  bool eager = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--eager") eager = true;
    else batches.push_back(std::atoll(argv[i]));
  }
  if (batches.empty()) batches = {1, 8, 64, 128};
  constexpr int64_t kPrompt = 512, kWarmUp = 4;
  const int64_t steps = eager ? 1 : 64;
  char name[256];
  ops::CudaTable()->device_name(0, name, sizeof(name));
  const double bandwidth = CopyBandwidth();
  fmt::print("{}: copy {:.0f} GB/s (read + written)\n", name, bandwidth * 1e-9);
  ModelOptions options;
  options.device = at::Device(at::kCUDA, 0);
  const auto model = std::make_shared<Model>(NamedConfig("v2-lite"), options);
  model->InitializeRandom(1);
  for (const int64_t batch : batches) {
    ModelRunner runner(model, {.max_sequence_tokens = kPrompt + kWarmUp + steps + 1, .num_sequences = batch, .use_graphs = !eager});
    std::vector<ModelRunner::Item> items;
    for (int64_t b = 0; b < batch; ++b) {
      std::vector<int32_t> prompt(kPrompt);
      for (int64_t i = 0; i < kPrompt; ++i) prompt[i] = static_cast<int32_t>((i * 7919 + b * 104729 + 13) % 102400);
      items.push_back({runner.NewSequence(), prompt});
    }
    const double prefill_start = MonotonicSeconds();
    for (auto& item : items) item.tokens = runner.RunGreedy({item});
    const double prefill_s = MonotonicSeconds() - prefill_start;
    double start = 0;
    for (int64_t step = 0; step < kWarmUp + steps; ++step) {
      if (step == kWarmUp) start = MonotonicSeconds();
      const std::vector<int32_t> next = runner.RunGreedy(items);
      for (int64_t b = 0; b < batch; ++b) items[b].tokens = {next[b]};
    }
    const double seconds = (MonotonicSeconds() - start) / steps;
    const double limit = BytesOfStep(model->config(), batch, kPrompt + kWarmUp + steps / 2) / bandwidth;
    fmt::print("v2-lite bf16 decode, batch {:>3}, context {}: {:.3f} ms a step, {:.1f} tok/s, {:.1f}% of the bytes limit ({:.1f} tok/s), graphs {}, prefill one by one {:.0f} tok/s\n",
               batch, kPrompt, seconds * 1e3, batch / seconds, 100 * limit / seconds, batch / limit, runner.uses_graphs() ? "on" : "off",
               batch * kPrompt / prefill_s);
    std::fflush(stdout);
  }
  return 0;
}
