#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/output_folder.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/test_data.h"
#include "checkpoint/written_checkpoint.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

int64_t CountFiles(const fs::path& folder) { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); }

std::unique_ptr<Model> RandomModel(const Json& config) {
  auto model = std::make_unique<Model>(ParseModelConfig(config, "config.json"), ModelOptions{.dtype = at::kFloat});
  model->InitializeRandom(3);
  return model;
}

void ExpectSame(Model& a, Model& b, at::ScalarType through) {
  std::map<std::string, at::Tensor> expected;
  a.ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) { expected[spec.name] = slot.values; });
  b.ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    const at::ScalarType stored = spec.keep_float32 ? at::kFloat : through;
    EXPECT_TRUE(at::equal(slot.values, expected.at(spec.name).to(stored).to(slot.values.scalar_type()))) << spec.name;
    expected.erase(spec.name);
  });
  EXPECT_TRUE(expected.empty());
}

TEST(SaveHuggingFace, WritesWhatLoadModelReads) {
  for (const Json& config : {TinyLlamaConfig(), TinyV3Config()}) {
    const auto model = RandomModel(config);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const TemporaryFolder folder;
      SaveHuggingFace(*model, folder.path() / "out", dtype, int64_t{1} << 40);
      EXPECT_EQ(CountFiles(folder.path()), 1);  // nothing temporary is left
      EXPECT_EQ(CountFiles(folder.path() / "out"), 2);
      const Checkpoint checkpoint = Checkpoint::Open(folder.path() / "out");
      EXPECT_EQ(ResolveDtype("auto", checkpoint), dtype);
      ExpectSame(*model, *LoadModel(checkpoint, {.dtype = at::kFloat}), dtype);
    }
  }
}

TEST(SaveHuggingFace, CutsShardsWithAnIndex) {
  const auto model = RandomModel(TinyV3Config());
  const TemporaryFolder folder;
  SaveHuggingFace(*model, folder.path() / "out", at::kFloat, 10000);
  const Json index = ReadJsonFile(folder.path() / "out/model.safetensors.index.json");
  int64_t total = 0, num_shards = 0;
  for (const auto& file : fs::directory_iterator(folder.path() / "out")) {
    if (file.path().extension() != ".safetensors") continue;
    ++num_shards;
    int64_t data = 0;
    const auto shard = OpenSafetensors({file.path()});
    for (const TensorEntry& entry : shard->entries()) data += static_cast<int64_t>(entry.bytes.size());
    EXPECT_TRUE(data <= 10000 || shard->entries().size() == 1) << file.path();
    total += data;
  }
  EXPECT_GT(num_shards, 2);
  EXPECT_EQ(index["metadata"]["total_size"], total);
  EXPECT_TRUE(fs::exists(folder.path() / "out" / fmt::format("model-00001-of-{:05}.safetensors", num_shards)));
  ExpectSame(*model, *LoadModel(Checkpoint::Open(folder.path() / "out"), {.dtype = at::kFloat}), at::kFloat);
}

TEST(SaveHuggingFace, NeverTouchesWhatIsThere) {
  const auto model = RandomModel(TinyLlamaConfig());
  const TemporaryFolder folder;
  folder.Write("mine", "keep");
  EXPECT_THAT(MessageOf<UserError>([&] { SaveHuggingFace(*model, folder.path(), at::kFloat, 1 << 30); }), HasSubstr("exists already"));
  EXPECT_THAT(MessageOf<UserError>([&] { SaveHuggingFace(*model, folder.path() / "mine", at::kFloat, 1 << 30); }), HasSubstr("exists already"));
  EXPECT_THAT(MessageOf<UserError>([&] { SaveHuggingFace(*model, folder.path() / "no/out", at::kFloat, 1 << 30); }), HasSubstr("is no folder"));
  EXPECT_EQ(ReadFile(folder.path() / "mine"), "keep");
  EXPECT_EQ(CountFiles(folder.path()), 1);
  fs::create_directory(folder.path() / "empty");
  SaveHuggingFace(*model, folder.path() / "empty", at::kFloat, 1 << 30);
  EXPECT_TRUE(fs::exists(folder.path() / "empty/config.json"));
}

TEST(OutputFolder, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  {
    const OutputFolder out(folder.path() / "out");
    OutputFile file(out.path() / "a");
    file.Write("bytes");
    file.Close();
    EXPECT_TRUE(fs::exists(out.path() / "a"));
    EXPECT_FALSE(fs::exists(folder.path() / "out"));
  }
  EXPECT_EQ(CountFiles(folder.path()), 0);
}

TEST(OutputFolder, RefusesAFolderThatCameMeanwhile) {
  const TemporaryFolder folder;
  OutputFolder out(folder.path() / "out");
  fs::create_directory(folder.path() / "out");
  folder.Write("out/other", "x");
  EXPECT_THROW(out.Commit(), MachineError);
  EXPECT_TRUE(fs::exists(folder.path() / "out/other"));
}

TEST(OutputFile, SaysThatTheDiskIsFull) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const TemporaryFolder folder;
  const OutputFolder out(folder.path() / "out");
  EXPECT_THAT(MessageOf<MachineError>([&] { out.CheckSpace(int64_t{1} << 62); }), HasSubstr("free"));
}

TEST(SaveHuggingFace, FoldsTheTemperatureIntoTheRouter) {
  Json config = TinyV3Config();
  config["architectures"] = {"DeepseekV2ForCausalLM"};
  config["topk_method"] = "softmax_temperature";
  config["norm_topk_prob"] = false;
  config["scoring_func"] = "softmax";
  config["q_lora_rank"] = nullptr;
  const auto model = RandomModel(config);
  at::Tensor gate, temperature;
  model->ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    if (spec.role == WeightRole::kRouter) gate = slot.values;
    if (spec.role == WeightRole::kLogTemperature) temperature = slot.values;
  });
  ASSERT_TRUE(temperature.defined());
  temperature.fill_(0.75);
  const TemporaryFolder folder;
  SaveHuggingFace(*model, folder.path() / "out", at::kFloat, 1 << 30);
  const Checkpoint saved = Checkpoint::Open(folder.path() / "out");
  EXPECT_EQ(saved.config.routing, Routing::kGreedySoftmax);
  EXPECT_EQ(saved.files->Find("model.layers.1.mlp.gate.log_temperature"), nullptr);
  EXPECT_TRUE(at::allclose(ReadTensor(*saved.files->Find("model.layers.1.mlp.gate.weight"), at::kFloat), gate.mul(std::exp(-0.75)), 1e-6));
  // The saved model routes and computes as the tempered one.
  const auto plain = LoadModel(saved, {.dtype = at::kFloat});
  const PackedBatch batch = PackedBatch::FromSequences({{1, 5, 7, 2, 9}}, at::kCPU);
  const auto logits = [&](Model& m) {
    const auto attention = MakePackedCausal(m.config(), batch);
    return m.Head(m.Forward(batch, {.attention = attention.get()}));
  };
  EXPECT_TRUE(at::allclose(logits(*plain), logits(*model), 1e-4, 1e-5));
}

}  // namespace
}  // namespace fathom
