#include "checkpoint/gguf_config.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace fathom {
namespace {

// The shortest decimal that is the same float32: 1e-05 where the file's float32 reads 9.99999974e-06.
double AsDecimal(double value) { return std::stod(fmt::format("{}", static_cast<float>(value))); }

// Metadata under "<architecture>.".
class Keys {
 public:
  Keys(const GgufHeader& header, const std::string& prefix) : header_(header), prefix_(prefix + ".") {}
  bool Has(const std::string& key) const { return header_.Find(prefix_ + key) != nullptr; }
  int64_t Int(const std::string& key) const { return header_.GetInt(prefix_ + key); }
  int64_t Int(const std::string& key, int64_t otherwise) const { return Has(key) ? Int(key) : otherwise; }
  double Float(const std::string& key, double otherwise) const { return Has(key) ? AsDecimal(header_.GetFloat(prefix_ + key)) : otherwise; }
  std::string String(const std::string& key, const std::string& otherwise) const { return Has(key) ? header_.GetString(prefix_ + key) : otherwise; }
  bool Bool(const std::string& key, bool otherwise) const {
    const GgufValue* value = header_.Find(prefix_ + key);
    if (value == nullptr) return otherwise;
    FATHOM_USER_CHECK(std::holds_alternative<bool>(*value), "GGUF key '{}{}' must be a bool", prefix_, key);
    return std::get<bool>(*value);
  }

 private:
  const GgufHeader& header_;
  std::string prefix_;
};

// Llama 3's scaling keeps high frequencies, divides low ones by `factor`, and between wavelengths L / high and L / low goes over smoothly. The file
// has the divisor of each frequency; the function depends on L / low and L / high alone, so L = 8192 can stand for any.
// Source: the rope_type "llama3" of transformers' modeling_rope_utils.
Json Llama3Scaling(const TensorEntry& entry, double theta, int64_t head_dim) {
  const at::Tensor divisors = ReadTensor(entry, at::kFloat);
  const int64_t n = divisors.numel();
  FATHOM_USER_CHECK(n == head_dim / 2 && n > 0, "tensor {}: {} values, half of the head dimension {} is needed", entry.name, n, head_dim);
  const float* divisor = divisors.const_data_ptr<float>();
  constexpr double kLength = 8192;
  const double factor = *std::max_element(divisor, divisor + n);
  const auto inverse_wavelength = [&](int64_t i) { return std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)) / (2 * M_PI); };
  // 1/divisor = (1 - s) / factor + s, with s = (kLength * inverse_wavelength - low) / (high - low).
  const auto divisor_of = [&](int64_t i, double low, double high) {
    const double s = std::clamp((kLength * inverse_wavelength(i) - low) / (high - low), 0.0, 1.0);
    return 1 / ((1 - s) / factor + s);
  };
  const auto fits = [&](double low, double high) {
    for (int64_t i = 0; i < n; ++i)
      if (!(std::abs(divisor_of(i, low, high) / divisor[i] - 1) < 1e-4)) return false;
    return true;
  };
  double low = 1, high = 4;
  if (!(factor > 1)) {
    for (int64_t i = 0; i < n; ++i)
      FATHOM_USER_CHECK(divisor[i] == 1.0f, "tensor {}: value {} is {}, not a scaling of Llama 3's kind", entry.name, i, divisor[i]);
    return nullptr;
  }
  if (!fits(low, high)) {  // two points of the smooth part give the line
    std::vector<std::pair<double, double>> points;
    for (int64_t i = 0; i < n; ++i)
      if (divisor[i] > 1.0001f && divisor[i] < factor * 0.9999) points.emplace_back(kLength * inverse_wavelength(i), (1.0 / divisor[i] - 1 / factor) / (1 - 1 / factor));
    FATHOM_USER_CHECK(points.size() >= 2, "tensor {}: its {} values are no scaling of Llama 3's kind", entry.name, n);
    const auto [x0, s0] = points.front();
    const auto [x1, s1] = points.back();
    const double slope = (s1 - s0) / (x1 - x0);
    low = x0 - s0 / slope;
    high = low + 1 / slope;
    FATHOM_USER_CHECK(low > 0 && high > low && fits(low, high), "tensor {}: its {} values are no scaling of Llama 3's kind", entry.name, n);
  }
  return {{"rope_type", "llama3"}, {"factor", factor}, {"low_freq_factor", low}, {"high_freq_factor", high},
          {"original_max_position_embeddings", static_cast<int64_t>(kLength)}};
}

Json ScalingFromKeys(const Keys& keys, const std::string& architecture) {
  const std::string type = keys.String("rope.scaling.type", keys.Has("rope.scale_linear") ? "linear" : "none");
  if (type == "none") return nullptr;
  FATHOM_USER_CHECK(type == "linear" || type == "yarn", "GGUF key '{}.rope.scaling.type' must be none, linear or yarn, got '{}'", architecture, type);
  const double factor = keys.Float("rope.scaling.factor", keys.Float("rope.scale_linear", 0));
  FATHOM_USER_CHECK(factor > 0, "GGUF key '{}.rope.scaling.factor' must be above 0 for type {}, got {}", architecture, type, factor);
  Json scaling = {{"type", type}, {"factor", factor}};
  if (type == "linear") return factor == 1 ? Json(nullptr) : scaling;
  scaling["original_max_position_embeddings"] = keys.Int("rope.scaling.original_context_length");
  scaling["beta_fast"] = keys.Float("rope.scaling.yarn_beta_fast", 32);
  scaling["beta_slow"] = keys.Float("rope.scaling.yarn_beta_slow", 1);
  // The file has 0.1 * mscale_all_dim. It has no mscale of its own: the released models have both equal.
  if (keys.Has("rope.scaling.yarn_log_multiplier")) {
    const double mscale = AsDecimal(keys.Float("rope.scaling.yarn_log_multiplier", 0) * 10);
    if (mscale != 0) scaling["mscale"] = scaling["mscale_all_dim"] = mscale;
  }
  return scaling;
}

void AddTokens(const GgufHeader& header, Json& config) {
  const auto add = [&](const char* name, const char* key) {
    if (header.Find(key) != nullptr) config[name] = header.GetInt(key);
  };
  add("bos_token_id", "tokenizer.ggml.bos_token_id");
  add("pad_token_id", "tokenizer.ggml.padding_token_id");
  add("eos_token_id", "tokenizer.ggml.eos_token_id");
  if (header.Find("tokenizer.ggml.eot_token_id") == nullptr) return;
  const int64_t end_of_turn = header.GetInt("tokenizer.ggml.eot_token_id");
  if (config.contains("eos_token_id") && config["eos_token_id"] != end_of_turn) config["eos_token_id"] = Json::array({config["eos_token_id"], end_of_turn});
}

void AddGroupedQuery(const Keys& keys, const std::string& architecture, const TensorFiles& files, Json& config) {
  FATHOM_USER_CHECK(keys.Int("expert_count", 0) == 0, "GGUF key '{}.expert_count' is {}: a mixture of this architecture is not supported", architecture,
                    keys.Int("expert_count", 0));
  const int64_t heads = keys.Int("attention.head_count");
  FATHOM_USER_CHECK(heads > 0, "GGUF key '{}.attention.head_count' must be positive, got {}", architecture, heads);
  config["num_key_value_heads"] = keys.Int("attention.head_count_kv", heads);
  const int64_t head_dim = keys.Int("attention.key_length", keys.Int("rope.dimension_count", keys.Int("embedding_length") / heads));
  FATHOM_USER_CHECK(keys.Int("rope.dimension_count", head_dim) == head_dim && keys.Int("attention.value_length", head_dim) == head_dim,
                    "GGUF keys '{}.rope.dimension_count' and 'attention.value_length' must equal the head dimension {}", architecture, head_dim);
  config["head_dim"] = head_dim;
  if (architecture == "llama") {
    config["attention_bias"] = files.Find("blk.0.attn_q.bias") != nullptr;
    config["mlp_bias"] = files.Find("blk.0.ffn_down.bias") != nullptr;
  }
  if (const TensorEntry* divisors = files.Find("rope_freqs.weight"))
    config["rope_scaling"] = Llama3Scaling(*divisors, config["rope_theta"].get<double>(), head_dim);
}

void AddExperts(const Keys& keys, bool is_v3, Json& config) {
  const int64_t experts = keys.Int("expert_count", 0);
  config["n_routed_experts"] = experts;
  config["first_k_dense_replace"] = keys.Int("leading_dense_block_count", 0);
  if (experts == 0) return;
  config["num_experts_per_tok"] = keys.Int("expert_used_count");
  config["n_shared_experts"] = keys.Int("expert_shared_count", 0);
  config["moe_intermediate_size"] = keys.Int("expert_feed_forward_length");
  config["routed_scaling_factor"] = keys.Float("expert_weights_scale", 1.0);
  config["norm_topk_prob"] = keys.Bool("expert_weights_norm", is_v3);
  // Files made before these keys existed: the two released models with groups are known by their number of experts.
  const int64_t released_groups = experts == 256 && is_v3 ? 8 : experts == 160 && !is_v3 ? 8 : 1;
  const int64_t groups = keys.Int("expert_group_count", released_groups);
  const int64_t released_used = released_groups == 1 ? 1 : is_v3 ? 4 : 3;
  if (!keys.Has("expert_group_count") && groups > 1) LogInfo("GGUF without expert_group_count: {} experts are taken as {} groups", experts, groups);
  config["n_group"] = std::max<int64_t>(groups, 1);
  config["topk_group"] = groups > 1 ? keys.Int("expert_group_used_count", released_used) : 1;
  config["topk_method"] = is_v3 ? "noaux_tc" : groups > 1 ? "group_limited_greedy" : "greedy";
  config["scoring_func"] = is_v3 ? "sigmoid" : "softmax";
}

void AddLatent(const Keys& keys, const TensorFiles& files, Json& config) {
  constexpr int64_t kSoftmax = 1, kSigmoid = 2;
  bool has_router_bias = false;
  for (const TensorEntry& entry : files.entries()) has_router_bias = has_router_bias || entry.name.ends_with(".exp_probs_b.bias");
  const int64_t gating = keys.Int("expert_gating_func", has_router_bias ? kSigmoid : kSoftmax);
  FATHOM_USER_CHECK(gating == kSoftmax || gating == kSigmoid || gating == 0, "GGUF key 'deepseek2.expert_gating_func' must be 1 (softmax) or 2 (sigmoid), got {}", gating);
  const bool is_v3 = gating == kSigmoid || (gating == 0 && has_router_bias);
  config["architectures"] = Json::array({is_v3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"});
  config["model_type"] = is_v3 ? "deepseek_v3" : "deepseek_v2";
  const int64_t rope = keys.Int("rope.dimension_count");
  // Files of the absorbed form keep the head's sizes under *_mla; key_length is then that of the latent.
  const int64_t key_length = keys.Int(keys.Has("attention.key_length_mla") ? "attention.key_length_mla" : "attention.key_length");
  FATHOM_USER_CHECK(key_length > rope, "GGUF keys: a key of {} values must be longer than its rotated part of {}", key_length, rope);
  config["qk_rope_head_dim"] = rope;
  config["qk_nope_head_dim"] = key_length - rope;
  config["v_head_dim"] = keys.Int(keys.Has("attention.value_length_mla") ? "attention.value_length_mla" : "attention.value_length");
  config["kv_lora_rank"] = keys.Int("attention.kv_lora_rank");
  config["q_lora_rank"] = keys.Int("attention.q_lora_rank", 0) > 0 ? Json(keys.Int("attention.q_lora_rank")) : Json(nullptr);
  AddExperts(keys, is_v3, config);
}

}  // namespace

Json HubConfigFromGguf(const GgufHeader& header, const TensorFiles& files) {
  const std::string& architecture = header.GetString("general.architecture");
  FATHOM_USER_CHECK(architecture == "llama" || architecture == "qwen2" || architecture == "deepseek2",
                    "GGUF key 'general.architecture' must be llama, qwen2 or deepseek2, got '{}'", architecture);
  const Keys keys(header, architecture);
  const TensorEntry* embedding = files.Find("token_embd.weight");
  FATHOM_USER_CHECK(embedding != nullptr && embedding->shape.size() == 2,
                    "tensor token_embd.weight (vocabulary rows) is not in the file: a vocabulary-only GGUF has a tokenizer and no model");
  Json config;
  config["architectures"] = Json::array({architecture == "llama" ? "LlamaForCausalLM" : "Qwen2ForCausalLM"});
  config["model_type"] = architecture;
  config["vocab_size"] = embedding->shape[0];
  config["hidden_size"] = keys.Int("embedding_length");
  config["intermediate_size"] = keys.Int("feed_forward_length");
  config["num_hidden_layers"] = keys.Int("block_count") - keys.Int("nextn_predict_layers", 0);
  config["num_attention_heads"] = keys.Int("attention.head_count");
  config["rms_norm_eps"] = keys.Float("attention.layer_norm_rms_epsilon", 1e-6);
  config["max_position_embeddings"] = keys.Int("context_length");
  config["rope_theta"] = keys.Float("rope.freq_base", 10000.0);
  config["rope_scaling"] = ScalingFromKeys(keys, architecture);
  config["tie_word_embeddings"] = files.Find("output.weight") == nullptr;
  config["torch_dtype"] = "bfloat16";
  config["hidden_act"] = "silu";
  AddTokens(header, config);
  if (architecture == "deepseek2") AddLatent(keys, files, config);
  else AddGroupedQuery(keys, architecture, files, config);
  return config;
}

}  // namespace fathom
