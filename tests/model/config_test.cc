#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "places.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

Json ReleasedJson(const std::string& name) {
  return ReadJsonFile(SourceFolder() / "tests/model/configs" / (name + ".json"));
}

std::string ErrorOf(const Json& json) {
  try {
    ParseModelConfig(json, "config.json");
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

// The released configuration `name` with one key changed.
std::string ErrorWith(const std::string& name, const std::string& key, const Json& value) {
  Json json = ReleasedJson(name);
  json[key] = value;
  return ErrorOf(json);
}

class ReleasedConfig : public ::testing::TestWithParam<const char*> {};

TEST_P(ReleasedConfig, IsReadAndWrittenBackAsTheSameModel) {
  const ModelConfig config = ParseModelConfig(ReleasedJson(GetParam()), "config.json");
  const Json written = ToHubJson(config);
  EXPECT_EQ(ToHubJson(ParseModelConfig(written, "written")), written);
}

INSTANTIATE_TEST_SUITE_P(Hub, ReleasedConfig,
                         ::testing::Values("deepseek-v3", "deepseek-v3.2", "deepseek-v2", "deepseek-v2-lite", "deepseek-llm-67b",
                                           "smollm2-135m", "llama-3.1-8b", "deepseek-r1-distill-qwen-7b"));

TEST(ModelConfig, ReadsDeepseekV3FromTheHub) {
  const ModelConfig config = ParseModelConfig(ReleasedJson("deepseek-v3"), "config.json");
  EXPECT_EQ(config.architecture, Architecture::kDeepseekV3);
  EXPECT_EQ(config.routing, Routing::kNoauxTc);
  EXPECT_EQ(config.rope_scaling.kind, RopeKind::kYarn);
  EXPECT_EQ(config.rope_scaling.factor, 40);
  EXPECT_EQ(config.num_nextn_predict_layers, 1);
  EXPECT_EQ(config.kv_values_per_token_per_layer(), 576);
  ASSERT_TRUE(config.quantization);
  EXPECT_EQ(config.quantization->block_rows, 128);
  EXPECT_EQ(config.eos_token_ids, std::vector<int64_t>{1});
  const double mscale = 0.1 * std::log(40.0) + 1;
  EXPECT_NEAR(config.attention_scale(), mscale * mscale / std::sqrt(192.0), 1e-12);
}

TEST(ModelConfig, TheIndexersKeysCountInTheCache) {
  EXPECT_EQ(ParseModelConfig(ReleasedJson("deepseek-v3.2"), "config.json").kv_values_per_token_per_layer(), 576 + 128);
}

TEST(ModelConfig, GroupedQueryAttentionScalesByItsHeadAlone) {
  const ModelConfig config = ParseModelConfig(ReleasedJson("smollm2-135m"), "config.json");
  EXPECT_DOUBLE_EQ(config.attention_scale(), 0.125);
  EXPECT_EQ(config.kv_values_per_token_per_layer(), 2 * 3 * 64);
}

TEST(ModelConfig, TransformersFiveSpellsTheSameModel) {
  Json json = ReleasedJson("deepseek-v3");
  json["rope_parameters"] = json["rope_scaling"];
  json["rope_parameters"]["rope_theta"] = 5000.0;
  json["rope_parameters"]["rope_type"] = "yarn";
  json["dtype"] = "float32";
  json["mlp_layer_types"] = Json::array();
  for (int i = 0; i < 61; ++i) json["mlp_layer_types"].push_back(i < 5 ? "dense" : "sparse");
  for (const char* key : {"rope_scaling", "rope_theta", "torch_dtype", "topk_method", "scoring_func", "moe_layer_freq"}) json.erase(key);
  const ModelConfig config = ParseModelConfig(json, "config.json");
  EXPECT_EQ(config.rope_theta, 5000.0);
  EXPECT_EQ(config.rope_scaling.kind, RopeKind::kYarn);
  EXPECT_EQ(config.rope_scaling.mscale_all_dim, 1.0);
  EXPECT_EQ(config.dtype, "float32");
  EXPECT_EQ(config.first_k_dense_replace, 5);
  EXPECT_EQ(config.routing, Routing::kNoauxTc);
}

TEST(ModelConfig, AListOfEndTokensAndLlamaThreesRopeAreRead) {
  const ModelConfig config = ParseModelConfig(ReleasedJson("llama-3.1-8b"), "config.json");
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{128001, 128008, 128009}));
  EXPECT_EQ(config.rope_scaling.kind, RopeKind::kLlama3);
  EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 8192);
}

TEST(ModelConfig, ATemperatureRouterIsReadAndWritten) {
  Json json = ReleasedJson("deepseek-v2-lite");
  json["topk_method"] = "softmax_temperature";
  const ModelConfig config = ParseModelConfig(json, "config.json");
  EXPECT_EQ(config.routing, Routing::kTemperatureSoftmax);
  EXPECT_EQ(ToHubJson(config)["topk_method"], "softmax_temperature");
}

TEST(ModelConfig, AnUnknownArchitectureIsRefusedByName) {
  EXPECT_THAT(ErrorWith("deepseek-v3", "architectures", Json::array({"MambaForCausalLM"})),
              AllOf(HasSubstr("config.json: architectures"), HasSubstr("MambaForCausalLM"), HasSubstr("LlamaForCausalLM")));
}

struct Refusal {
  const char* base;
  const char* key;
  Json value;
  const char* rule;
};

class RefusedKey : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedKey, NamesTheKeyTheRuleAndTheValue) {
  const Refusal& refusal = GetParam();
  const std::string error = ErrorWith(refusal.base, refusal.key, refusal.value);
  EXPECT_THAT(error, HasSubstr(refusal.rule));
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Mathematics, RefusedKey,
    ::testing::Values(
        Refusal{"smollm2-135m", "rope_scaling", Json{{"type", "longrope"}, {"factor", 2}}, "rope_scaling.type must be one of default, linear"},
        Refusal{"smollm2-135m", "rope_scaling", Json{{"type", "linear"}}, "rope_scaling.factor"},
        Refusal{"smollm2-135m", "rope_scaling", Json{{"type", "linear"}, {"factor", 2}, {"warp", 3}}, "rope_scaling.warp"},
        Refusal{"smollm2-135m", "rope_scaling", Json("yarn"), "rope_scaling must be a JSON object"},
        Refusal{"smollm2-135m", "hidden_act", "gelu", "hidden_act must be silu, got \"gelu\""},
        Refusal{"smollm2-135m", "partial_rotary_factor", 0.5, "partial_rotary_factor must be 1.0"},
        Refusal{"smollm2-135m", "final_logit_softcapping", 30.0, "final_logit_softcapping is not a key"},
        Refusal{"smollm2-135m", "sliding_window", 4096, "sliding_window must be null"},
        Refusal{"smollm2-135m", "pretraining_tp", 2, "pretraining_tp must be 1"},
        Refusal{"smollm2-135m", "num_key_value_heads", 2, "num_key_value_heads must divide num_attention_heads = 9"},
        Refusal{"smollm2-135m", "head_dim", 63, "head_dim must be even"},
        Refusal{"smollm2-135m", "hidden_size", -4, "hidden_size must be a whole number"},
        Refusal{"smollm2-135m", "hidden_size", "big", "got \"big\""},
        Refusal{"smollm2-135m", "vocab_size", nullptr, "the key vocab_size is missing"},
        Refusal{"smollm2-135m", "tie_word_embeddings", 1, "tie_word_embeddings must be true or false"},
        Refusal{"smollm2-135m", "torch_dtype", "int8", "torch_dtype must be float32"},
        Refusal{"deepseek-r1-distill-qwen-7b", "layer_types", Json::array({"sliding_attention"}), "layer_types must be"},
        Refusal{"deepseek-r1-distill-qwen-7b", "attention_bias", false, "attention_bias must be true"},
        Refusal{"deepseek-v2", "scoring_func", "sigmoid", "scoring_func must be softmax"},
        Refusal{"deepseek-v3", "scoring_func", "softmax", "scoring_func must be sigmoid"},
        Refusal{"deepseek-v3", "topk_method", "greedy", "topk_method must be noaux_tc"},
        Refusal{"deepseek-v2", "topk_method", "random", "topk_method must be greedy"},
        Refusal{"deepseek-v3", "moe_layer_freq", 2, "moe_layer_freq must be 1"},
        Refusal{"deepseek-v3", "n_group", 7, "n_group must divide n_routed_experts = 256"},
        Refusal{"deepseek-v3", "topk_group", 9, "topk_group must be at most n_group = 8"},
        Refusal{"deepseek-v3", "num_experts_per_tok", 129, "num_experts_per_tok must be at most the 128 experts"},
        Refusal{"deepseek-v3", "qk_rope_head_dim", 63, "qk_rope_head_dim must be even"},
        Refusal{"deepseek-v3", "mlp_layer_types", Json::array({"sparse"}), "mlp_layer_types must list"},
        Refusal{"deepseek-v3", "quantization_config", Json{{"quant_method", "awq"}}, "quantization_config.quant_method must be fp8"},
        Refusal{"deepseek-v3.2", "q_lora_rank", nullptr, "q_lora_rank"},
        Refusal{"deepseek-v3.2", "index_head_dim", 32, "index_head_dim must be at least qk_rope_head_dim"}));

TEST(ModelConfig, ASlidingWindowThatNoLayerUsesIsAccepted) {
  EXPECT_EQ(ErrorWith("deepseek-r1-distill-qwen-7b", "use_sliding_window", true), "no error");  // max_window_layers = all layers
  Json json = ReleasedJson("deepseek-r1-distill-qwen-7b");
  json["use_sliding_window"] = true;
  json["max_window_layers"] = 21;
  EXPECT_THAT(ErrorOf(json), HasSubstr("use_sliding_window must be false"));
}

TEST(ModelConfig, UnknownKeysThatSayNothingAreAccepted) {
  EXPECT_EQ(ErrorWith("smollm2-135m", "qk_norm", false), "no error");
  EXPECT_EQ(ErrorWith("smollm2-135m", "attn_logit_softcapping", nullptr), "no error");
}

TEST(ModelConfig, DynamicRopeReachesItsFactorTimesTheOriginalContext) {
  Json json = ReleasedJson("smollm2-135m");
  EXPECT_EQ(ParseModelConfig(json, "config.json").context_length(), json["max_position_embeddings"].get<int64_t>());
  json["rope_scaling"] = Json{{"type", "dynamic"}, {"factor", 2.0}};
  EXPECT_EQ(ParseModelConfig(json, "config.json").context_length(), 2 * json["max_position_embeddings"].get<int64_t>());
}

TEST(ModelConfig, SomethingThatIsNoObjectIsRefused) { EXPECT_THAT(ErrorOf(Json::array()), HasSubstr("must be a JSON object")); }

}  // namespace
}  // namespace fathom
