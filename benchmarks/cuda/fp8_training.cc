// Trains a small model of V3's shape on the bytes of a text from one seed, in bf16 and in FP8, and prints the losses:
//   bench_fp8_training TEXT [STEPS] [CSV] [DEVICE]
// A third run, bf16 again with each batch's sequences in the reverse order, has the same mathematics as the first and other roundings: how far it parts from
// the first is what chance makes of a training of this length. The last lines compare the mean losses of the last tenth of the steps. CSV:
// step,bf16,fp8,bf16 reversed. DEVICE cpu trains a smaller model of the same kind: there FP8's products are float32 products of the rounded operands.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/random.h"
#include "model/attention_backend.h"
#include "model/model.h"
#include "ops/cuda_backend.h"

namespace {

using namespace fathom;  // NOLINT: a program of one file

struct Size {
  ModelConfig config;
  int64_t sequences, tokens;  // a step, of each
};

ModelConfig SmallV3(int64_t tokens) {
  ModelConfig config;  // V3's routing
  config.vocab_size = 256;
  config.hidden_size = 768;
  config.intermediate_size = 2048;
  config.moe_intermediate_size = 384;
  config.num_hidden_layers = 4;
  config.num_attention_heads = config.num_key_value_heads = 8;
  config.q_lora_rank = 384;
  config.kv_lora_rank = 256;
  config.n_routed_experts = 16;
  config.n_shared_experts = 1;
  config.num_experts_per_tok = 4;
  config.n_group = config.topk_group = 1;
  config.first_k_dense_replace = 1;
  config.max_position_embeddings = tokens;
  config.num_nextn_predict_layers = 0;
  config.rope_scaling = {};
  config.initializer_range = 0.02;
  return config;
}

Size SizeFor(at::Device device) {
  if (!device.is_cpu()) return {SmallV3(256), 64, 256};
  ModelConfig config = SmallV3(64);
  config.hidden_size = 128;
  config.intermediate_size = 384;
  config.moe_intermediate_size = 64;
  config.num_hidden_layers = 2;
  config.num_attention_heads = config.num_key_value_heads = 4;
  config.q_lora_rank = config.kv_lora_rank = 64;
  config.qk_nope_head_dim = config.v_head_dim = 32;
  config.qk_rope_head_dim = 16;
  config.n_routed_experts = 8;
  config.num_experts_per_tok = 2;
  return {config, 6, 64};
}

// The step's windows of the text and what follows each byte, the same for both runs.
std::pair<PackedBatch, at::Tensor> BatchOf(const std::string& text, int64_t step, const Size& size, bool reversed, at::Device device) {
  RandomStream random(17, static_cast<uint64_t>(step));
  std::vector<std::vector<int32_t>> sequences;
  std::vector<int64_t> targets;
  std::vector<size_t> begins(static_cast<size_t>(size.sequences));
  for (size_t& begin : begins) begin = static_cast<size_t>(random.Uniform() * static_cast<double>(text.size() - static_cast<size_t>(size.tokens) - 1));
  if (reversed) std::reverse(begins.begin(), begins.end());
  for (const size_t begin : begins) {
    sequences.emplace_back();
    for (size_t i = begin; i < begin + static_cast<size_t>(size.tokens); ++i) {
      sequences.back().push_back(static_cast<unsigned char>(text[i]));
      targets.push_back(static_cast<unsigned char>(text[i + 1]));
    }
  }
  return {PackedBatch::FromSequences(sequences, device), at::tensor(targets, at::kLong).to(device)};
}

// AdamW with float32 masters and moments (0.9, 0.95, decay 0.1 of matrices), gradients clipped to a norm of 1.
class Optimizer {
 public:
  explicit Optimizer(Model& model) {
    for (const auto& [name, leaf] : model.TrainableLeaves()) {
      const at::Tensor master = leaf.detach().to(at::kFloat).clone();
      states_.push_back({leaf, master, at::zeros_like(master), at::zeros_like(master)});
    }
  }

  void Step(double lr, int64_t step) {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> squares;
    for (const State& state : states_) {
      if (state.leaf.grad().defined()) squares.push_back(state.leaf.grad().to(at::kFloat).square().sum());
    }
    const at::Tensor clip = at::stack(squares).sum().sqrt().add(1e-6).reciprocal().clamp_max(1.0);
    const double first_bias = 1 - std::pow(0.9, step), second_bias = 1 - std::pow(0.95, step);
    for (State& state : states_) {
      if (!state.leaf.grad().defined()) continue;
      const at::Tensor gradient = state.leaf.grad().to(at::kFloat).mul(clip);
      state.first.mul_(0.9).add_(gradient, 0.1);
      state.second.mul_(0.95).addcmul_(gradient, gradient, 0.05);
      if (state.leaf.dim() >= 2) state.master.mul_(1 - lr * 0.1);
      state.master.addcdiv_(state.first, state.second.div(second_bias).sqrt_().add_(1e-8), -lr / first_bias);
      state.leaf.copy_(state.master);
      state.leaf.mutable_grad().reset();
    }
  }

 private:
  struct State {
    at::Tensor leaf, master, first, second;
  };
  std::vector<State> states_;
};

// Warm-up over 30 steps, then a cosine to a tenth.
double LearningRate(int64_t step, int64_t steps) {
  constexpr double kPeak = 3e-4;
  if (step <= 30) return kPeak * static_cast<double>(step) / 30;
  const double done = static_cast<double>(step - 30) / static_cast<double>(std::max<int64_t>(1, steps - 30));
  return kPeak * (0.1 + 0.45 * (1 + std::cos(done * 3.14159265358979)));
}

std::vector<double> Train(const std::string& text, int64_t steps, bool fp8, bool reversed, at::Device device) {
  const Size size = SizeFor(device);
  Model model(size.config, {.dtype = at::kBFloat16, .device = device, .fp8_training = fp8});
  model.InitializeRandom(1);
  model.RequireGrad(true);
  Optimizer optimizer(model);
  std::vector<at::Tensor> losses;
  for (int64_t step = 1; step <= steps; ++step) {
    const auto [batch, targets] = BatchOf(text, step, size, reversed, device);
    const auto attention = MakePackedCausal(model.config(), batch);
    const at::Tensor hidden_TD = model.Forward(batch, {.attention = attention.get()});
    const at::Tensor loss = at::cross_entropy_loss(model.Head(hidden_TD).to(at::kFloat), targets);
    loss.backward();
    optimizer.Step(LearningRate(step, steps), step);
    losses.push_back(loss.detach());
  }
  const at::Tensor host = at::stack(losses).to(at::kCPU, at::kDouble);
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + steps};
}

double MeanOfLast(const std::vector<double>& values, size_t count) {
  double sum = 0;
  for (size_t i = values.size() - count; i < values.size(); ++i) sum += values[i];
  return sum / static_cast<double>(count);
}

int Run(int argc, char** argv) {
  FATHOM_USER_CHECK(argc >= 2, "bench_fp8_training needs a text: TEXT [STEPS] [CSV] [DEVICE], got {}", argc - 1);
  const std::string device_name = argc > 4 ? argv[4] : "cuda";
  std::string why;
  FATHOM_USER_CHECK(device_name == "cpu" || ops::LoadCudaBackend(&why), "no CUDA device: {}", why);
  std::ifstream file(argv[1], std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  FATHOM_USER_CHECK(text.size() > 10000, "{} must be a text of more than 10000 bytes, got {}", argv[1], text.size());
  const int64_t steps = argc > 2 ? std::stoll(argv[2]) : 300;
  const at::Device device(device_name);
  const std::vector<double> bf16 = Train(text, steps, false, false, device), fp8 = Train(text, steps, true, false, device);
  const std::vector<double> again = Train(text, steps, false, true, device);
  for (size_t i = 0; i < bf16.size(); i += std::max<size_t>(1, bf16.size() / 15)) {
    fmt::print("step {:>4}  bf16 {:.4f}  fp8 {:.4f}  bf16 reversed {:.4f}\n", i + 1, bf16[i], fp8[i], again[i]);
  }
  const size_t last = std::max<size_t>(1, bf16.size() / 10);
  const double a = MeanOfLast(bf16, last), b = MeanOfLast(fp8, last), c = MeanOfLast(again, last);
  fmt::print("mean of the last {} steps: bf16 {:.5f}; fp8 {:.5f}, {:+.3f}%; bf16 reversed {:.5f}, {:+.3f}%\n", last, a, b, 100 * (b / a - 1), c, 100 * (c / a - 1));
  if (argc > 3) {
    std::ofstream csv(argv[3]);
    csv << "step,bf16,fp8,bf16 reversed\n";
    for (size_t i = 0; i < bf16.size(); ++i) csv << fmt::format("{},{:.6f},{:.6f},{:.6f}\n", i + 1, bf16[i], fp8[i], again[i]);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
