// The configuration of a model: one struct for every architecture, read from Hugging Face's config.json in both
// spellings (the hub's, and transformers 5's with rope_parameters, dtype and mlp_layer_types), written in the hub's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace fathom {

enum class Architecture { kLlama, kQwen2, kDeepseekV2, kDeepseekV3, kDeepseekV32 };

// How the routed experts of a token are chosen (config key topk_method / scoring_func).
enum class Routing {
  kGreedySoftmax,        // V2-Lite "greedy"
  kGroupLimitedSoftmax,  // V2 "group_limited_greedy"
  kNoauxTc,              // V3 "noaux_tc": sigmoid with e_score_correction_bias
  kTemperatureSoftmax,   // softmax(logits / T), T = schedule(step) * exp(mlp.gate.log_temperature)
};

enum class RopeKind { kDefault, kLinear, kDynamic, kYarn, kLlama3 };

struct RopeScaling {
  RopeKind kind = RopeKind::kDefault;
  double factor = 1.0;
  int64_t original_max_position_embeddings = 4096;
  double beta_fast = 32, beta_slow = 1;          // YaRN
  std::optional<double> mscale, mscale_all_dim;  // YaRN
  std::optional<double> attention_factor;        // YaRN
  bool truncate = true;                          // YaRN: round the correction range
  double low_freq_factor = 1, high_freq_factor = 4;  // Llama 3
};

struct QuantizationConfig {  // V3's FP8 files
  std::string method;        // "fp8"
  int64_t block_rows = 128, block_cols = 128;
  std::string scale_format;  // "" (float32) or "ue8m0"
};

// Defaults are DeepSeek-V3's.
struct ModelConfig {
  Architecture architecture = Architecture::kDeepseekV3;
  int64_t vocab_size = 129280;
  int64_t hidden_size = 7168;
  int64_t intermediate_size = 18432;
  int64_t num_hidden_layers = 61;
  int64_t num_attention_heads = 128;
  int64_t num_key_value_heads = 128;
  int64_t head_dim = 0;  // Llama, Qwen2
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.006;
  bool tie_word_embeddings = false;
  bool attention_bias = false;      // Llama: q, k, v, o; DeepSeek: q_a, kv_a, o
  bool qkv_bias = false;            // Qwen2: q, k, v
  bool mlp_bias = false;
  int64_t max_position_embeddings = 163840;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool rope_interleave = true;  // MLA

  std::optional<int64_t> q_lora_rank = 1536;
  int64_t kv_lora_rank = 512;
  int64_t qk_nope_head_dim = 128, qk_rope_head_dim = 64, v_head_dim = 128;

  int64_t n_routed_experts = 256;  // 0: no mixture
  int64_t n_shared_experts = 1;
  int64_t num_experts_per_tok = 8;
  int64_t moe_intermediate_size = 2048;
  int64_t first_k_dense_replace = 3;
  int64_t n_group = 8, topk_group = 4;
  Routing routing = Routing::kNoauxTc;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 2.5;

  int64_t num_nextn_predict_layers = 0;
  int64_t index_n_heads = 0, index_head_dim = 0, index_topk = 0;  // V3.2's indexer; 0: none

  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> bos_token_id, pad_token_id;
  std::string dtype = "bfloat16";  // of the checkpoint
  std::optional<QuantizationConfig> quantization;

  bool has_mla() const { return architecture != Architecture::kLlama && architecture != Architecture::kQwen2; }
  bool has_indexer() const { return index_n_heads > 0; }
  // Tokens that a sequence may have: max_position_embeddings, times the factor under dynamic RoPE scaling, which is there to go past it.
  int64_t context_length() const {
    if (rope_scaling.kind != RopeKind::kDynamic) return max_position_embeddings;
    return static_cast<int64_t>(static_cast<double>(max_position_embeddings) * rope_scaling.factor);
  }
  bool is_moe_layer(int64_t layer_idx) const { return n_routed_experts > 0 && layer_idx >= first_k_dense_replace; }
  // Values that the KV cache holds for a token in a layer: kv_lora_rank + qk_rope_head_dim, or 2 * kv heads * head_dim
  // (plus index_head_dim with an indexer).
  int64_t kv_values_per_token_per_layer() const;
  // Softmax scale of attention, YaRN's mscale^2 included for MLA.
  double attention_scale() const;
};

// Reads config.json. `what` names it in errors. Throws UserError for an unknown architecture, rope type, routing or activation, for
// a key that changes the mathematics and is not understood, and for values that do not fit together.
ModelConfig ParseModelConfig(const Json& json, const std::string& what);

// The hub's spelling: what transformers and this program read back as the same configuration.
Json ToHubJson(const ModelConfig& config);

}  // namespace fathom
