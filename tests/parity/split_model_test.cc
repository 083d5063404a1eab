// A model that its GPU does not hold whole gives what it gives in one place.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/placement.h"
#include "ops/test_device.h"
#include "parity/parity_run.h"
#include "places.h"

namespace fathom::parity {
namespace {

ModelConfig FourLayers() {
  ModelConfig config;
  config.num_hidden_layers = 4;
  config.n_routed_experts = 8;
  return config;
}

TEST(Placement, TheLastLayersAreOnTheDevice) {
  const ModelConfig config = FourLayers();
  const at::Device gpu(at::kCUDA, 0);
  const ModelOptions whole{.device = gpu}, part{.device = gpu, .device_layers = 3}, none{.device = gpu, .device_layers = 0};
  EXPECT_EQ(NumHostLayers(config, whole), 0);
  EXPECT_EQ(NumHostLayers(config, part), 1);
  EXPECT_TRUE(DeviceOfLayer(config, part, 0).is_cpu());
  EXPECT_EQ(DeviceOfLayer(config, part, 1), gpu);
  EXPECT_EQ(NumHostLayers(config, none), 4);
  EXPECT_EQ(DeviceOfLayer(config, none, 4), gpu) << "MTP's layer";
  EXPECT_EQ(NumHostLayers(config, {.device = gpu, .device_layers = 9}), 0);
  EXPECT_EQ(NumHostLayers(config, {.device = at::kCPU, .device_layers = 1}), 0);
}

TEST(Placement, ExpertsAndEmbeddingMayBeApart) {
  const ModelConfig config = FourLayers();
  const ModelOptions options{.device = at::Device(at::kCUDA, 0), .device_layers = 3, .host_experts = true};
  for (const WeightSpec& spec : ListWeights(config)) {
    const bool on_cpu = spec.is_routed_expert || spec.layer_idx == 0 || spec.role == WeightRole::kEmbedTokens;
    EXPECT_EQ(DeviceOfWeight(config, options, spec).is_cpu(), on_cpu) << spec.name;
  }
  EXPECT_TRUE(IsSplit(config, {.device = at::Device(at::kCUDA, 0), .host_experts = true}));
  EXPECT_FALSE(IsSplit(config, {.device = at::kCPU, .host_experts = true}));
}

struct Split {
  const char* name;
  int64_t device_layers;
  bool host_experts;
};

class SplitModel : public ::testing::TestWithParam<std::tuple<const char*, Split>> {};

TEST_P(SplitModel, GivesTheLogitsAndTokensOfTheWhole) {
  if (!ops::TestDevice().is_cuda()) GTEST_SKIP() << "FATHOM_TEST_DEVICE is not cuda";
  const auto& [name, split] = GetParam();
  const std::filesystem::path folder = SourceFolder() / "tests/parity/goldens" / name;
  const auto whole = LoadModel(Checkpoint::Open(folder), {.dtype = at::kFloat});
  const auto model = LoadModel(Checkpoint::Open(folder), {.dtype = at::kFloat, .device = ops::TestDevice(), .device_layers = split.device_layers,
                                                          .host_experts = split.host_experts});
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 37; ++i) prompt.push_back((7 * i * i + 3) % static_cast<int32_t>(whole->config().vocab_size));
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::allclose(Logits(*model, prompt).cpu(), Logits(*whole, prompt), 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(PagedLogits(*model, prompt, {20, 5}).cpu(), PagedLogits(*whole, prompt, {20, 5}), 1e-4, 1e-4));
  EXPECT_EQ(Greedy(*model, prompt, 12), Greedy(*whole, prompt, 12));
  if (whole->config().num_nextn_predict_layers > 0) {
    EXPECT_TRUE(at::allclose(MtpLogits(*model, prompt).cpu(), MtpLogits(*whole, prompt), 1e-4, 1e-4));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SplitModel,
                         ::testing::Combine(::testing::Values("llama", "qwen2", "v2_lite", "v3", "v32"),
                                            ::testing::Values(Split{"one_layer", 1, false}, Split{"no_layer", 0, false}, Split{"experts_apart", -1, true},
                                                              Split{"both", 1, true})),
                         [](const auto& info) { return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param).name; });

}  // namespace
}  // namespace fathom::parity
