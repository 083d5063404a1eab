// Every architecture's decode step is recorded in a CUDA graph and replayed: the same greedy tokens as transformers, and as without a graph.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "engine/decode_graphs.h"
#include "engine/model_runner.h"
#include "engine/sampler.h"
#include "ops/test_device.h"
#include "places.h"

namespace fathom::parity {
namespace {

TEST(DecodeGraphs, BatchesAreFilledUpToALadderOfSizes) {
  EXPECT_EQ(LadderSize(1), 1);
  EXPECT_EQ(LadderSize(3), 4);
  EXPECT_EQ(LadderSize(9), 16);
  EXPECT_EQ(LadderSize(17), 32);
  EXPECT_EQ(LadderSize(128), 128);
  EXPECT_EQ(LadderSize(129), 160);
}

class DecodeGraphsOf : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!ops::TestDevice().is_cuda()) GTEST_SKIP() << "FATHOM_TEST_DEVICE is not cuda";
    const std::filesystem::path folder = SourceFolder() / "tests/parity/goldens" / GetParam();
    ModelOptions options;
    options.dtype = at::kFloat;
    options.device = ops::TestDevice();
    model_ = LoadModel(Checkpoint::Open(folder), options);
    golden_ = OpenSafetensors({folder / "golden.safetensors"});
  }

  std::vector<int32_t> Tokens(const std::string& name) const {
    const at::Tensor values = ReadTensor(*golden_->Find(name), at::ScalarType::Undefined);
    return {values.data_ptr<int32_t>(), values.data_ptr<int32_t>() + values.numel()};
  }

  // Greedy tokens of each prompt, all decoded side by side.
  std::vector<std::vector<int32_t>> Greedy(const std::vector<std::vector<int32_t>>& prompts, int64_t count, bool use_graphs) const {
    ModelRunner runner(model_, {.max_sequence_tokens = 192, .num_sequences = static_cast<int64_t>(prompts.size()), .use_graphs = use_graphs});
    std::vector<ModelRunner::Item> items;
    std::vector<std::vector<int32_t>> answers;
    for (const auto& prompt : prompts) {
      const int32_t sequence = runner.NewSequence();
      items.push_back({sequence, runner.RunGreedy({{sequence, prompt}})});
      answers.push_back(items.back().tokens);
    }
    while (static_cast<int64_t>(answers[0].size()) < count) {
      const std::vector<int32_t> next = runner.RunGreedy(items);
      for (size_t b = 0; b < items.size(); ++b) {
        items[b].tokens = {next[b]};
        answers[b].push_back(next[b]);
      }
    }
    EXPECT_EQ(runner.uses_graphs(), use_graphs) << "a step could not be recorded";
    return answers;
  }

  std::shared_ptr<Model> model_;
  std::unique_ptr<TensorFiles> golden_;
};

TEST_P(DecodeGraphsOf, GiveTransformersGreedyTokens) {
  EXPECT_EQ(Greedy({Tokens("tokens_17")}, 24, true)[0], Tokens("greedy_17"));
}

TEST_P(DecodeGraphsOf, GiveTheTokensOfAStepWithoutAGraph) {
  const std::vector<std::vector<int32_t>> prompts = {Tokens("tokens_17"), Tokens("tokens_1"), Tokens("tokens_70")};
  EXPECT_EQ(Greedy(prompts, 70, true), Greedy(prompts, 70, false));
}

TEST_P(DecodeGraphsOf, DrawOnTheDeviceWhatTheCpuDrawsFromTheirLogits) {
  const std::vector<std::vector<int32_t>> prompts = {Tokens("tokens_17"), Tokens("tokens_1"), Tokens("tokens_70")};
  std::vector<std::vector<int32_t>> answers[2];
  for (const bool on_device : {false, true}) {
    ModelRunner runner(model_, {.max_sequence_tokens = 192, .num_sequences = 3});
    std::vector<ModelRunner::Item> items;
    std::vector<Sampler> samplers;
    for (const auto& prompt : prompts) {
      samplers.emplace_back(SamplingParams{.temperature = 1.2, .top_k = 30, .top_p = 0.9, .repetition_penalty = 1.2, .frequency_penalty = 0.1, .seed = 7}, prompt,
                            samplers.size());
      items.push_back({runner.NewSequence(), prompt});
    }
    for (int step = 0; step < 40; ++step) {
      std::deque<std::vector<ops::SeenToken>> lists;
      std::vector<ops::SampleRow> rows;
      for (const Sampler& sampler : samplers) rows.push_back(sampler.Row({}, lists));
      std::vector<int32_t> tokens;
      if (on_device) {
        tokens = runner.RunAndChoose(items, rows);
      } else {
        const at::Tensor chosen = ops::sample_tokens(runner.Run(items, true), rows);
        tokens.assign(chosen.const_data_ptr<int64_t>(), chosen.const_data_ptr<int64_t>() + chosen.numel());
      }
      for (size_t b = 0; b < items.size(); ++b) {
        samplers[b].Accept(tokens[b]);
        items[b].tokens = {tokens[b]};
      }
      answers[on_device].push_back(tokens);
    }
  }
  EXPECT_EQ(answers[0], answers[1]);
}

INSTANTIATE_TEST_SUITE_P(Cases, DecodeGraphsOf,
                         ::testing::Values("llama", "llama_llama3_bias", "llama_linear", "llama_dynamic", "llama_yarn", "qwen2", "v2_lite", "v2",
                                           "v3", "v3_plain", "v32"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace fathom::parity
