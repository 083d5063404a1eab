// Whole models with FP8 weights, on either device: kept as V3's files have them, and trained.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/model_runner.h"
#include "model/model.h"
#include "ops/fp8/fp8.h"
#include "ops/test_device.h"
#include "parity/parity_run.h"
#include "parity/small_v3.h"

namespace fathom::parity {
namespace {

ModelConfig Fp8Config() {
  ModelConfig config = SmallV3();
  config.quantization = QuantizationConfig{.method = "fp8", .block_rows = 128, .block_cols = 128, .scale_format = ""};
  return config;
}

// The same weights twice: kept in FP8, and expanded.
struct Models {
  Models() {
    const at::ScalarType dtype = ops::TestDevice().is_cuda() ? at::kBFloat16 : at::kFloat;
    plain = std::make_shared<Model>(Fp8Config(), ModelOptions{.dtype = dtype, .device = ops::TestDevice()});
    kept = std::make_shared<Model>(Fp8Config(), ModelOptions{.dtype = dtype, .device = ops::TestDevice(), .keep_fp8 = true});
    plain->InitializeRandom(3);
    std::vector<WeightSlot> slots;
    const at::NoGradGuard no_grad;
    plain->ForEachWeight([&](const WeightSpec&, WeightSlot& slot) { slots.push_back(slot); });
    size_t i = 0;
    kept->ForEachWeight([&](const WeightSpec&, WeightSlot& slot) {
      at::Tensor values = slots[i++].values;
      if (!slot.set_fp8) {
        slot.values.copy_(values);
        return;
      }
      const ops::Fp8Blocks blocks = ops::fp8_quantize_weight(values.unsqueeze(0)).plain;
      slot.set_fp8(blocks.values[0].cpu(), blocks.scales[0].cpu());
      values.copy_(ops::fp8_expand(blocks, values.scalar_type())[0]);
      ++num_kept;
    });
  }
  std::shared_ptr<Model> plain, kept;
  int num_kept = 0;
};

std::vector<int32_t> Prompt(int64_t length) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>(i * 37 % 96));
  return tokens;
}

double RelativeError(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual.to(at::kFloat) - expected.to(at::kFloat)).norm() / expected.to(at::kFloat).norm()).item<double>();
}

TEST(Fp8Model, KeptWeightsGiveTheExpandedOnesLogits) {
  const Models models;
  EXPECT_GT(models.num_kept, 60);
  // More than 16 rows on CUDA have their activations in FP8 too.
  const double many = ops::TestDevice().is_cuda() ? 0.12 : 1e-4, few = ops::TestDevice().is_cuda() ? 0.03 : 1e-4;
  EXPECT_LE(RelativeError(Logits(*models.kept, Prompt(150)), Logits(*models.plain, Prompt(150))), many);
  EXPECT_LE(RelativeError(Logits(*models.kept, Prompt(9)), Logits(*models.plain, Prompt(9))), few);
  EXPECT_LE(RelativeError(PagedLogits(*models.kept, Prompt(14), {1}), PagedLogits(*models.plain, Prompt(14), {1})), few);
}

TEST(Fp8Model, KeptWeightsDecodeInAGraphAsWithoutOne) {
  if (!ops::TestDevice().is_cuda()) GTEST_SKIP() << "FATHOM_TEST_DEVICE is not cuda";
  const Models models;
  std::vector<std::vector<int32_t>> answers[2];
  for (const bool use_graphs : {false, true}) {
    ModelRunner runner(models.kept, {.max_sequence_tokens = 192, .num_sequences = 3, .use_graphs = use_graphs});
    std::vector<ModelRunner::Item> items;
    for (const int64_t length : {17, 1, 70}) {
      const int32_t sequence = runner.NewSequence();
      items.push_back({sequence, runner.RunGreedy({{sequence, Prompt(length)}})});
    }
    for (int step = 0; step < 30; ++step) {
      const std::vector<int32_t> next = runner.RunGreedy(items);
      for (size_t b = 0; b < items.size(); ++b) items[b].tokens = {next[b]};
      answers[use_graphs].push_back(next);
    }
    EXPECT_EQ(runner.uses_graphs(), use_graphs) << "a step could not be recorded";
  }
  EXPECT_EQ(answers[0], answers[1]);
}

TEST(Fp8Model, TrainingGivesAboutTheGradientsOfUnroundedProducts) {
  ModelConfig config = Fp8Config();
  config.quantization.reset();
  const at::ScalarType dtype = ops::TestDevice().is_cuda() ? at::kBFloat16 : at::kFloat;
  std::map<std::string, at::Tensor> gradients[2];
  double losses[2] = {};
  for (const bool fp8 : {false, true}) {
    Model model(config, {.dtype = dtype, .device = ops::TestDevice(), .fp8_training = fp8});
    model.InitializeRandom(11);
    model.RequireGrad(true);
    const at::Tensor loss = Loss(model, {Prompt(150), Prompt(40)});
    loss.backward();
    losses[fp8] = loss.item<double>();
    gradients[fp8] = Gradients(model);
  }
  EXPECT_NEAR(losses[1] / losses[0], 1, 0.01);
  double difference = 0, norm = 0;
  for (const auto& [name, gradient] : gradients[0]) {
    EXPECT_TRUE(gradients[1].at(name).isfinite().all().item<bool>()) << name;
    difference += (gradients[1].at(name) - gradient).square().sum().item<double>();
    norm += gradient.square().sum().item<double>();
  }
  EXPECT_LE(std::sqrt(difference / norm), 0.3);
  EXPECT_GE(std::sqrt(difference / norm), 1e-3);
}

}  // namespace
}  // namespace fathom::parity
