// Writing a configuration in the hub's spelling.
#include "base/error.h"
#include "model/config.h"
#include "model/config_rope.h"

namespace fathom {
namespace {

struct Names {
  const char* architecture;
  const char* model_type;
};

Names NamesOf(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama: return {"LlamaForCausalLM", "llama"};
    case Architecture::kQwen2: return {"Qwen2ForCausalLM", "qwen2"};
    case Architecture::kDeepseekV2: return {"DeepseekV2ForCausalLM", "deepseek_v2"};
    case Architecture::kDeepseekV3: return {"DeepseekV3ForCausalLM", "deepseek_v3"};
    case Architecture::kDeepseekV32: return {"DeepseekV32ForCausalLM", "deepseek_v32"};
  }
  FATHOM_CHECK(false, "an architecture without a name");
}

const char* MethodOf(Routing routing) {
  switch (routing) {
    case Routing::kGreedySoftmax: return "greedy";
    case Routing::kGroupLimitedSoftmax: return "group_limited_greedy";
    case Routing::kNoauxTc: return "noaux_tc";
    case Routing::kTemperatureSoftmax: return "softmax_temperature";
  }
  FATHOM_CHECK(false, "a routing without a name");
}

Json OrNull(const std::optional<int64_t>& value) { return value ? Json(*value) : Json(nullptr); }

void AddLatent(const ModelConfig& config, Json& json) {
  json["q_lora_rank"] = OrNull(config.q_lora_rank);
  json["kv_lora_rank"] = config.kv_lora_rank;
  json["qk_nope_head_dim"] = config.qk_nope_head_dim;
  json["qk_rope_head_dim"] = config.qk_rope_head_dim;
  json["v_head_dim"] = config.v_head_dim;
  json["attention_bias"] = config.attention_bias;
  if (config.architecture == Architecture::kDeepseekV2) json["mlp_bias"] = config.mlp_bias;
  if (config.architecture == Architecture::kDeepseekV3) json["rope_interleave"] = config.rope_interleave;
  if (config.has_indexer()) {
    json["index_n_heads"] = config.index_n_heads;
    json["index_head_dim"] = config.index_head_dim;
    json["index_topk"] = config.index_topk;
  }
}

void AddExperts(const ModelConfig& config, Json& json) {
  const bool is_v2 = config.architecture == Architecture::kDeepseekV2;
  json["n_routed_experts"] = config.n_routed_experts > 0 ? Json(config.n_routed_experts) : Json(nullptr);
  json["n_shared_experts"] = config.n_shared_experts > 0 ? Json(config.n_shared_experts) : Json(nullptr);
  json["num_experts_per_tok"] = config.num_experts_per_tok;
  json["moe_intermediate_size"] = config.moe_intermediate_size;
  json["first_k_dense_replace"] = config.first_k_dense_replace;
  json["moe_layer_freq"] = 1;
  json["n_group"] = config.n_group;
  json["topk_group"] = config.topk_group;
  json["topk_method"] = MethodOf(config.routing);
  json["scoring_func"] = is_v2 ? "softmax" : "sigmoid";
  json["norm_topk_prob"] = config.norm_topk_prob;
  json["routed_scaling_factor"] = config.routed_scaling_factor;
  if (!is_v2) json["num_nextn_predict_layers"] = config.num_nextn_predict_layers;
}

}  // namespace

Json ToHubJson(const ModelConfig& config) {
  const Names names = NamesOf(config.architecture);
  Json json;
  json["architectures"] = Json::array({names.architecture});
  json["model_type"] = names.model_type;
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.num_key_value_heads;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["initializer_range"] = config.initializer_range;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rope_theta"] = config.rope_theta;
  json["rope_scaling"] = RopeScalingJson(config);
  json["torch_dtype"] = config.dtype;
  json["use_cache"] = true;
  json["attention_dropout"] = 0.0;
  json["bos_token_id"] = OrNull(config.bos_token_id);
  json["pad_token_id"] = OrNull(config.pad_token_id);
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids.front();
  else if (!config.eos_token_ids.empty()) json["eos_token_id"] = config.eos_token_ids;
  else json["eos_token_id"] = nullptr;
  if (config.has_mla()) {
    AddLatent(config, json);
    AddExperts(config, json);
  } else if (config.architecture == Architecture::kLlama) {
    json["head_dim"] = config.head_dim;
    json["attention_bias"] = config.attention_bias;
    json["mlp_bias"] = config.mlp_bias;
  } else {
    json["head_dim"] = config.head_dim;
    json["use_sliding_window"] = false;
  }
  if (config.quantization) {
    Json& quant = json["quantization_config"];
    quant["quant_method"] = config.quantization->method;
    quant["fmt"] = "e4m3";
    quant["activation_scheme"] = "dynamic";
    quant["weight_block_size"] = Json::array({config.quantization->block_rows, config.quantization->block_cols});
    if (!config.quantization->scale_format.empty()) quant["scale_fmt"] = config.quantization->scale_format;
  }
  return json;
}

}  // namespace fathom
