// The paged cache in other numbers than the model's, and steps that mix decode with prompts, on either device.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/model_runner.h"
#include "model/cache_format.h"
#include "model/model.h"
#include "ops/test_device.h"
#include "parity/parity_run.h"
#include "parity/small_v3.h"

namespace fathom::parity {
namespace {

std::shared_ptr<Model> MakeModel(CacheFormat format, bool has_experts = true) {
  const at::ScalarType dtype = ops::TestDevice().is_cuda() ? at::kBFloat16 : at::kFloat;
  ModelConfig config = SmallV3();
  if (!has_experts) config.first_k_dense_replace = config.num_hidden_layers;
  auto model = std::make_shared<Model>(config, ModelOptions{.dtype = dtype, .device = ops::TestDevice(), .kv_cache = format});
  model->InitializeRandom(3);
  return model;
}

std::vector<int32_t> Prompt(int64_t length) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>(i * 37 % 96));
  return tokens;
}

double RelativeError(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual.to(at::kFloat) - expected.to(at::kFloat)).norm() / expected.to(at::kFloat).norm()).item<double>();
}

TEST(CacheFormat, LatentsInFp8GiveAboutTheLogitsOfThoseInTheModelsDtypeAndTakeAlmostHalfTheMemory) {
  const auto plain = MakeModel(CacheFormat::kModel, false), fp8 = MakeModel(CacheFormat::kFp8, false), bf16 = MakeModel(CacheFormat::kBf16, false);
  // A prompt, more of it behind what is cached, then a token a step.
  const at::Tensor expected = PagedLogits(*plain, Prompt(90), {40, 30, 3});
  const double error = RelativeError(PagedLogits(*fp8, Prompt(90), {40, 30, 3}), expected);
  EXPECT_GT(error, 1e-4);
  EXPECT_LT(error, 0.08);
  EXPECT_LT(RelativeError(PagedLogits(*bf16, Prompt(90), {40, 30, 3}), expected), 0.02);
  const auto bytes = [](const std::shared_ptr<Model>& model) {
    return static_cast<double>(ModelRunner(model, {.max_sequence_tokens = 640, .use_graphs = false}).cache_bytes());
  };
  EXPECT_NEAR(bytes(fp8) / bytes(bf16), 656.0 / 1152, 1e-9);
}

TEST(CacheFormat, Fp8IsForLatentsAlone) {
  ModelConfig config = SmallV3();
  config.architecture = Architecture::kLlama;
  config.kv_lora_rank = 0;
  EXPECT_THROW(CheckCacheFormat(config, CacheFormat::kFp8), UserError);
  config = SmallV3();
  config.kv_lora_rank = 192;
  EXPECT_THROW(CheckCacheFormat(config, CacheFormat::kFp8), UserError);
  EXPECT_NO_THROW(CheckCacheFormat(config, CacheFormat::kBf16));
}

TEST(CacheFormat, AnFp8CacheDecodesInAGraphAsWithoutOne) {
  if (!ops::TestDevice().is_cuda()) GTEST_SKIP() << "FATHOM_TEST_DEVICE is not cuda";
  const auto model = MakeModel(CacheFormat::kFp8);
  std::vector<std::vector<int32_t>> answers[2];
  for (const bool use_graphs : {false, true}) {
    ModelRunner runner(model, {.max_sequence_tokens = 192, .num_sequences = 3, .use_graphs = use_graphs});
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

// Decode, the rest of a prompt behind its cached part, and a new prompt, in one step and in one each. Without experts: in bf16 a router's near-tie would
// fall the other way now and then.
TEST(MixedSteps, GiveEverySequenceTheLogitsThatItGetsAlone) {
  for (const CacheFormat format : {CacheFormat::kModel, CacheFormat::kFp8}) {
    const auto model = MakeModel(format, /*has_experts=*/false);
    at::Tensor logits[2];
    for (const bool together : {false, true}) {
      ModelRunner runner(model, {.max_sequence_tokens = 192, .num_sequences = 5, .use_graphs = false});
      for (int i = 0; i < 5; ++i) runner.NewSequence();
      runner.Run({{0, Prompt(30)}, {1, Prompt(80)}, {3, Prompt(7)}}, false);
      const std::vector<ModelRunner::Item> items = {{1, Prompt(50)}, {0, {5}}, {2, Prompt(20)}, {3, {1, 2, 3, 4}}, {4, {9}}};
      std::vector<at::Tensor> rows;
      if (together) rows.push_back(runner.Run(items, true).clone());
      else for (const auto& item : items) rows.push_back(runner.Run({item}, true).clone());
      logits[together] = at::cat(rows);
    }
    ASSERT_EQ(logits[1].size(0), 5);
    for (int64_t b = 0; b < 5; ++b) EXPECT_LT(RelativeError(logits[1][b], logits[0][b]), ops::TestDevice().is_cuda() ? 0.03 : 1e-5) << b;
  }
}

}  // namespace
}  // namespace fathom::parity
