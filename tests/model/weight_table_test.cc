#include "model/weight_table.h"
#include "places.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace fathom {
namespace {

ModelConfig Released(const std::string& name) {
  return ParseModelConfig(ReadJsonFile(SourceFolder() / "tests/model/configs" / (name + ".json")), name);
}

TEST(WeightTable, CountsDeepseekV3AsItsReportDoes) {
  const ParameterCount count = CountParameters(Released("deepseek-v3"));
  EXPECT_NEAR(static_cast<double>(count.total) / 1e9, 671.03, 0.005);
  EXPECT_NEAR(static_cast<double>(count.active) / 1e9, 37.55, 0.005);
  EXPECT_NEAR(static_cast<double>(count.total + count.mtp) / 1e9, 682.6, 0.06);
}

TEST(WeightTable, CountsTheOtherReleasedModels) {
  EXPECT_NEAR(static_cast<double>(CountParameters(Released("deepseek-v2-lite")).total) / 1e9, 15.7, 0.05);
  EXPECT_NEAR(static_cast<double>(CountParameters(Released("deepseek-v2")).total) / 1e9, 235.7, 0.1);
  EXPECT_NEAR(static_cast<double>(CountParameters(Released("deepseek-llm-67b")).total) / 1e9, 67.4, 0.1);
  EXPECT_EQ(CountParameters(Released("smollm2-135m")).total, 134515008);
  EXPECT_EQ(CountParameters(Released("llama-3.1-8b")).total, 8030261248);
  EXPECT_EQ(CountParameters(Released("deepseek-r1-distill-qwen-7b")).total, 7615616512);
}

TEST(WeightTable, NamesAreUnique) {
  for (const char* name : {"deepseek-v3", "deepseek-v3.2", "deepseek-v2-lite", "deepseek-r1-distill-qwen-7b"}) {
    std::set<std::string> names;
    for (const WeightSpec& spec : ListWeights(Released(name))) EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
  }
}

std::map<std::string, WeightSpec> ByName(const ModelConfig& config) {
  std::map<std::string, WeightSpec> specs;
  for (WeightSpec& spec : ListWeights(config)) specs.emplace(spec.name, spec);
  return specs;
}

TEST(WeightTable, TheMtpModuleRepeatsEmbeddingAndHeadAsTies) {
  const auto specs = ByName(Released("deepseek-v3"));
  EXPECT_EQ(specs.at("model.layers.61.embed_tokens.weight").tied_to, "model.embed_tokens.weight");
  EXPECT_EQ(specs.at("model.layers.61.shared_head.head.weight").tied_to, "lm_head.weight");
  EXPECT_EQ(specs.at("model.layers.61.eh_proj.weight").shape, (std::vector<int64_t>{7168, 14336}));
  EXPECT_TRUE(specs.at("model.layers.61.mlp.experts.255.down_proj.weight").is_mtp);
  EXPECT_TRUE(specs.at("lm_head.weight").tied_to.empty());
}

TEST(WeightTable, ATiedHeadIsNotStored) {
  const auto specs = ByName(Released("smollm2-135m"));
  EXPECT_EQ(specs.at("lm_head.weight").tied_to, "model.embed_tokens.weight");
}

TEST(WeightTable, ShapesFollowTheArchitecture) {
  const auto v3 = ByName(Released("deepseek-v3.2"));
  EXPECT_EQ(v3.at("model.layers.0.self_attn.kv_a_proj_with_mqa.weight").shape, (std::vector<int64_t>{576, 7168}));
  EXPECT_EQ(v3.at("model.layers.0.self_attn.kv_b_proj.weight").shape, (std::vector<int64_t>{128 * 256, 512}));
  EXPECT_EQ(v3.at("model.layers.0.self_attn.indexer.wq_b.weight").shape, (std::vector<int64_t>{64 * 128, 1536}));
  EXPECT_TRUE(v3.at("model.layers.3.mlp.gate.e_score_correction_bias").keep_float32);
  EXPECT_EQ(v3.count("model.layers.2.mlp.gate.weight"), 0u);
  EXPECT_EQ(v3.at("model.layers.3.mlp.experts.7.up_proj.weight").expert_idx, 7);
  const auto lite = ByName(Released("deepseek-v2-lite"));
  EXPECT_EQ(lite.at("model.layers.1.self_attn.q_proj.weight").shape, (std::vector<int64_t>{16 * 192, 2048}));
  EXPECT_EQ(lite.count("model.layers.1.self_attn.q_a_proj.weight"), 0u);
  EXPECT_EQ(lite.at("model.layers.1.mlp.shared_experts.down_proj.weight").shape, (std::vector<int64_t>{2048, 2816}));
  const auto qwen = ByName(Released("deepseek-r1-distill-qwen-7b"));
  EXPECT_EQ(qwen.at("model.layers.0.self_attn.k_proj.bias").shape, (std::vector<int64_t>{512}));
  EXPECT_EQ(qwen.count("model.layers.0.self_attn.o_proj.bias"), 0u);
}

}  // namespace
}  // namespace fathom
