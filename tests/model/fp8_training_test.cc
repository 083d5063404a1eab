#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "model/attention_backend.h"
#include "model/linear/fp8_trained_weight.h"
#include "model/linear/linear.h"
#include "model/linear/weight_grad_queue.h"
#include "model/model.h"

namespace fathom {
namespace {

double RelativeError(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual - expected).norm() / expected.norm()).item<double>();
}

// The operand as FP8 stands for it.
at::Tensor Rounded(const at::Tensor& x_MK) { return ops::fp8_expand(ops::fp8_quantize_rows(x_MK), at::kFloat); }
at::Tensor RoundedWeight(const at::Tensor& w_NK) { return ops::fp8_expand(ops::fp8_quantize_weight(w_NK.unsqueeze(0)).plain, at::kFloat).squeeze(0); }

TEST(Fp8Training, AllThreeProductsTakeOperandsRoundedAlongTheirSum) {
  at::manual_seed(1);
  const at::Tensor w = at::randn({144, 272}).requires_grad_(true), b = at::randn({144}).requires_grad_(true);
  const at::Tensor x = at::randn({150, 272}).requires_grad_(true), dy = at::randn({150, 144});
  const Linear linear(std::make_shared<Fp8TrainedWeight>(w), b);
  const at::Tensor y = linear(x);
  const at::Tensor rounded = RoundedWeight(w.detach());
  EXPECT_LE(RelativeError(y, at::linear(Rounded(x.detach()), rounded, b)), 1e-5);
  y.backward(dy);
  EXPECT_LE(RelativeError(x.grad(), at::matmul(Rounded(dy), rounded)), 1e-5);
  // The weight's gradient sums over rows: blocks of 128 rows of each column.
  const at::Tensor dy_rounded = Rounded(dy.t().contiguous()), x_rounded = Rounded(x.detach().t().contiguous());
  EXPECT_LE(RelativeError(w.grad(), at::matmul(dy_rounded, x_rounded.t())), 1e-5);
  EXPECT_LE(RelativeError(b.grad(), dy.sum(0)), 1e-6);
  // And FP8 is about FP32.
  EXPECT_LE(RelativeError(w.grad(), at::matmul(dy.t(), x.detach())), 0.06);
  EXPECT_GE(RelativeError(w.grad(), at::matmul(dy.t(), x.detach())), 1e-3);
}

TEST(Fp8Training, AWeightIsRoundedAgainWhenItsValuesChange) {
  at::manual_seed(2);
  const at::Tensor w = at::randn({16, 128}).requires_grad_(true), x = at::randn({4, 128});
  const Linear linear(std::make_shared<Fp8TrainedWeight>(w), std::nullopt);
  const at::Tensor before = linear(x).detach();
  {
    const at::NoGradGuard no_grad;
    w.mul_(2);
  }
  EXPECT_TRUE(linear(x).detach().equal(before * 2));
}

TEST(Fp8Training, AWeightsGradientWaitsInAQueue) {
  at::manual_seed(3);
  const at::Tensor w = at::randn({16, 128}).requires_grad_(true), x = at::randn({40, 128}).requires_grad_(true);
  const Linear linear(std::make_shared<Fp8TrainedWeight>(w), std::nullopt);
  const auto queue = std::make_shared<WeightGradQueue>();
  at::Tensor y;
  {
    const WeightGradScope scope(queue);
    y = linear(x);
  }
  y.square().sum().backward();
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(w.grad().defined());
  queue->Run();
  const at::Tensor dy = y.detach() * 2;
  EXPECT_LE(RelativeError(w.grad(), at::matmul(dy.t(), x.detach())), 0.06);
}

TEST(Fp8Training, ExpertsAreRoundedEachAlone) {
  at::manual_seed(4);
  const at::Tensor w = at::randn({3, 48, 144}).requires_grad_(true), x = at::randn({170, 144}).requires_grad_(true), dy = at::randn({170, 48});
  const at::Tensor offsets = at::tensor({0, 30, 30, 170}, at::kInt);
  const GroupedLinear linear(std::make_shared<Fp8TrainedGroupedWeight>(w));
  const at::Tensor y = linear(x, offsets);
  y.backward(dy);
  for (int64_t e : {0, 2}) {
    const int64_t begin = e == 0 ? 0 : 30, rows = e == 0 ? 30 : 140;
    const at::Tensor x_e = x.detach().narrow(0, begin, rows), dy_e = dy.narrow(0, begin, rows), w_e = RoundedWeight(w.detach()[e]);
    EXPECT_LE(RelativeError(y.detach().narrow(0, begin, rows), at::matmul(Rounded(x_e), w_e.t())), 1e-5);
    EXPECT_LE(RelativeError(x.grad().narrow(0, begin, rows), at::matmul(Rounded(dy_e), w_e)), 1e-5);
    EXPECT_LE(RelativeError(w.grad()[e], at::matmul(Rounded(dy_e.t().contiguous()), Rounded(x_e.t().contiguous()).t())), 1e-5);
  }
  EXPECT_EQ(w.grad()[1].abs().max().item<double>(), 0);
}

ModelConfig SmallV3() {
  ModelConfig config;
  config.vocab_size = 64;
  config.hidden_size = 128;
  config.intermediate_size = 192;
  config.moe_intermediate_size = 64;
  config.num_hidden_layers = 2;
  config.num_attention_heads = config.num_key_value_heads = 2;
  config.q_lora_rank = 64;
  config.kv_lora_rank = 32;
  config.qk_nope_head_dim = 32;
  config.qk_rope_head_dim = 16;
  config.v_head_dim = 32;
  config.n_routed_experts = 4;
  config.n_shared_experts = 1;
  config.num_experts_per_tok = 2;
  config.n_group = config.topk_group = 1;
  config.first_k_dense_replace = 1;
  config.max_position_embeddings = 64;
  config.initializer_range = 0.05;
  return config;
}

TEST(Fp8Training, AModelOfThisKindLosesAboutWhatTheSameInFloat32Does) {
  double losses[2] = {}, norms[2] = {};
  for (const bool fp8 : {false, true}) {
    ModelOptions options;
    options.dtype = at::kFloat;
    options.fp8_training = fp8;
    Model model(SmallV3(), options);
    model.InitializeRandom(7);
    model.RequireGrad(true);
    at::manual_seed(5);
    const at::Tensor tokens = at::randint(64, {48}, at::kInt);
    const std::vector<int32_t> sequence(tokens.const_data_ptr<int32_t>(), tokens.const_data_ptr<int32_t>() + 48);
    const PackedBatch batch = PackedBatch::FromSequences({sequence}, at::kCPU);
    const auto backend = MakePackedCausal(model.config(), batch);
    const at::Tensor hidden = model.Forward(batch, {.attention = backend.get()});
    const at::Tensor loss = at::cross_entropy_loss(model.Head(hidden), tokens.to(at::kLong).roll(-1));
    loss.backward();
    losses[fp8] = loss.item<double>();
    double squares = 0;
    for (const auto& [name, leaf] : model.TrainableLeaves()) {
      if (leaf.grad().defined()) squares += leaf.grad().square().sum().item<double>();
    }
    norms[fp8] = std::sqrt(squares);
  }
  EXPECT_NE(losses[0], losses[1]);
  EXPECT_NEAR(losses[1] / losses[0], 1, 5e-3);
  EXPECT_NEAR(norms[1] / norms[0], 1, 0.05);
}

}  // namespace
}  // namespace fathom
