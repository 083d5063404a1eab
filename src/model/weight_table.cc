// Legend: V vocabulary, D hidden_size, F an intermediate size, E routed experts, H heads.
#include "model/weight_table.h"

#include <utility>

namespace fathom {
namespace {

using Role = WeightRole;
using Kind = WeightKind;
using Shard = ShardRule;

class TableBuilder {
 public:
  explicit TableBuilder(const ModelConfig& config) : config_(config), D_(config.hidden_size) {}

  std::vector<WeightSpec> Build() {
    Add({.name = "model.embed_tokens.weight", .shape = {config_.vocab_size, D_}, .kind = Kind::kEmbedding, .shard = Shard::kVocabulary,
         .role = Role::kEmbedTokens});
    for (int64_t i = 0; i < config_.num_hidden_layers; ++i) AddLayer(i);
    Add({.name = "model.norm.weight", .shape = {D_}, .kind = Kind::kNorm, .role = Role::kFinalNorm});
    Add({.name = "lm_head.weight", .shape = {config_.vocab_size, D_}, .kind = Kind::kHead, .shard = Shard::kVocabulary,
         .tied_to = config_.tie_word_embeddings ? "model.embed_tokens.weight" : "", .role = Role::kLmHead});
    for (int64_t i = 0; i < config_.num_nextn_predict_layers; ++i) AddMtp(config_.num_hidden_layers + i);
    return std::move(specs_);
  }

 private:
  void Add(WeightSpec spec) {
    spec.layer_idx = layer_idx_;
    spec.expert_idx = expert_idx_;
    spec.is_mtp = layer_idx_ >= config_.num_hidden_layers;
    spec.is_routed_expert = expert_idx_ >= 0;
    specs_.push_back(std::move(spec));
  }
  void AddNorm(const std::string& name, Role role, int64_t width) {
    Add({.name = prefix_ + name + ".weight", .shape = {width}, .kind = Kind::kNorm, .role = role});
  }
  void AddMatrix(const std::string& name, Role role, int64_t rows, int64_t cols, Shard shard, bool has_bias = false) {
    Add({.name = prefix_ + name + ".weight", .shape = {rows, cols}, .kind = Kind::kLinear, .shard = shard, .role = role});
    if (!has_bias) return;
    // A row-sharded product is summed over ranks: its bias is added once.
    Add({.name = prefix_ + name + ".bias", .shape = {rows}, .kind = Kind::kBias,
         .shard = shard == Shard::kColumn ? Shard::kColumn : Shard::kReplicated, .role = role});
  }

  void AddLayer(int64_t layer_idx) {
    layer_idx_ = layer_idx;
    prefix_ = "model.layers." + std::to_string(layer_idx) + ".";
    AddNorm("input_layernorm", Role::kInputNorm, D_);
    if (config_.has_mla()) AddLatentAttention(); else AddGroupedAttention();
    AddNorm("post_attention_layernorm", Role::kPostAttentionNorm, D_);
    if (config_.is_moe_layer(layer_idx)) AddExperts(); else AddDense("mlp.", config_.intermediate_size, kDense);
    layer_idx_ = -1;
  }

  void AddGroupedAttention() {
    const int64_t q_rows = config_.num_attention_heads * config_.head_dim, kv_rows = config_.num_key_value_heads * config_.head_dim;
    const bool qkv_bias = config_.qkv_bias || config_.attention_bias;
    AddMatrix("self_attn.q_proj", Role::kQ, q_rows, D_, Shard::kColumn, qkv_bias);
    AddMatrix("self_attn.k_proj", Role::kK, kv_rows, D_, Shard::kColumn, qkv_bias);
    AddMatrix("self_attn.v_proj", Role::kV, kv_rows, D_, Shard::kColumn, qkv_bias);
    AddMatrix("self_attn.o_proj", Role::kO, D_, q_rows, Shard::kRow, config_.attention_bias);
  }

  void AddLatentAttention() {
    const int64_t H = config_.num_attention_heads, nope = config_.qk_nope_head_dim, rope = config_.qk_rope_head_dim;
    const bool bias = config_.attention_bias;
    if (config_.q_lora_rank) {
      AddMatrix("self_attn.q_a_proj", Role::kQA, *config_.q_lora_rank, D_, Shard::kReplicated, bias);
      AddNorm("self_attn.q_a_layernorm", Role::kQANorm, *config_.q_lora_rank);
      AddMatrix("self_attn.q_b_proj", Role::kQB, H * (nope + rope), *config_.q_lora_rank, Shard::kColumn);
    } else {
      AddMatrix("self_attn.q_proj", Role::kQ, H * (nope + rope), D_, Shard::kColumn);
    }
    AddMatrix("self_attn.kv_a_proj_with_mqa", Role::kKvA, config_.kv_lora_rank + rope, D_, Shard::kReplicated, bias);
    AddNorm("self_attn.kv_a_layernorm", Role::kKvANorm, config_.kv_lora_rank);
    AddMatrix("self_attn.kv_b_proj", Role::kKvB, H * (nope + config_.v_head_dim), config_.kv_lora_rank, Shard::kColumn);
    AddMatrix("self_attn.o_proj", Role::kO, D_, H * config_.v_head_dim, Shard::kRow, bias);
    if (config_.has_indexer()) AddIndexer();
  }

  void AddIndexer() {
    const int64_t width = config_.index_head_dim;
    AddMatrix("self_attn.indexer.wq_b", Role::kIndexQB, config_.index_n_heads * width, *config_.q_lora_rank, Shard::kReplicated);
    AddMatrix("self_attn.indexer.wk", Role::kIndexK, width, D_, Shard::kReplicated);
    AddNorm("self_attn.indexer.k_norm", Role::kIndexKNorm, width);
    Add({.name = prefix_ + "self_attn.indexer.k_norm.bias", .shape = {width}, .kind = Kind::kBias, .role = Role::kIndexKNorm});
    AddMatrix("self_attn.indexer.weights_proj", Role::kIndexWeights, config_.index_n_heads, D_, Shard::kReplicated);
    specs_.back().keep_float32 = true;  // as transformers keeps it
  }

  struct MlpRoles {
    Role gate, up, down;
  };
  static constexpr MlpRoles kDense{Role::kMlpGate, Role::kMlpUp, Role::kMlpDown};
  static constexpr MlpRoles kRouted{Role::kExpertGate, Role::kExpertUp, Role::kExpertDown};
  static constexpr MlpRoles kShared{Role::kSharedGate, Role::kSharedUp, Role::kSharedDown};

  void AddDense(const std::string& name, int64_t F, const MlpRoles& roles) {
    const bool is_expert = expert_idx_ >= 0;
    const bool bias = config_.mlp_bias && !is_expert;
    AddMatrix(name + "gate_proj", roles.gate, F, D_, is_expert ? Shard::kExpert : Shard::kColumn, bias);
    AddMatrix(name + "up_proj", roles.up, F, D_, is_expert ? Shard::kExpert : Shard::kColumn, bias);
    AddMatrix(name + "down_proj", roles.down, D_, F, is_expert ? Shard::kExpert : Shard::kRow, bias);
  }

  void AddExperts() {
    const int64_t E = config_.n_routed_experts, F = config_.moe_intermediate_size;
    Add({.name = prefix_ + "mlp.gate.weight", .shape = {E, D_}, .kind = Kind::kRouter, .role = Role::kRouter});
    if (config_.routing == Routing::kNoauxTc) {
      Add({.name = prefix_ + "mlp.gate.e_score_correction_bias", .shape = {E}, .kind = Kind::kRouterBias, .keep_float32 = true,
           .role = Role::kRouterBias});
    }
    if (config_.routing == Routing::kTemperatureSoftmax) {
      Add({.name = prefix_ + "mlp.gate.log_temperature", .shape = {1}, .kind = Kind::kScalar, .keep_float32 = true, .optional = true,
           .role = Role::kLogTemperature});
    }
    for (expert_idx_ = 0; expert_idx_ < E; ++expert_idx_) AddDense("mlp.experts." + std::to_string(expert_idx_) + ".", F, kRouted);
    expert_idx_ = -1;
    if (config_.n_shared_experts > 0) AddDense("mlp.shared_experts.", F * config_.n_shared_experts, kShared);
  }

  // The released files repeat the embedding and the head under the module's layer.
  void AddMtp(int64_t layer_idx) {
    const std::string head = config_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    const std::string prefix = "model.layers." + std::to_string(layer_idx) + ".";
    layer_idx_ = layer_idx;
    prefix_ = prefix;
    Add({.name = prefix_ + "embed_tokens.weight", .shape = {config_.vocab_size, D_}, .kind = Kind::kEmbedding, .shard = Shard::kVocabulary,
         .tied_to = "model.embed_tokens.weight", .role = Role::kMtpEmbed});
    AddNorm("enorm", Role::kMtpENorm, D_);
    AddNorm("hnorm", Role::kMtpHNorm, D_);
    AddMatrix("eh_proj", Role::kMtpProjection, D_, 2 * D_, Shard::kReplicated);
    AddLayer(layer_idx);
    layer_idx_ = layer_idx;
    AddNorm("shared_head.norm", Role::kMtpHeadNorm, D_);
    Add({.name = prefix_ + "shared_head.head.weight", .shape = {config_.vocab_size, D_}, .kind = Kind::kHead, .shard = Shard::kVocabulary,
         .tied_to = head, .role = Role::kMtpHead});
    layer_idx_ = -1;
  }

  const ModelConfig& config_;
  const int64_t D_;
  std::string prefix_;
  int64_t layer_idx_ = -1, expert_idx_ = -1;
  std::vector<WeightSpec> specs_;
};

}  // namespace

std::vector<WeightSpec> ListWeights(const ModelConfig& config) { return TableBuilder(config).Build(); }

bool IsFp8Matrix(const WeightSpec& spec) { return spec.kind == WeightKind::kLinear && !spec.keep_float32 && spec.role != WeightRole::kMtpProjection; }

ParameterCount CountParameters(const ModelConfig& config) {
  ParameterCount count;
  int64_t routed = 0;
  for (const WeightSpec& spec : ListWeights(config)) {
    if (!spec.tied_to.empty()) continue;
    int64_t numel = 1;
    for (const int64_t size : spec.shape) numel *= size;
    (spec.is_mtp ? count.mtp : count.total) += numel;
    if (!spec.is_mtp && spec.is_routed_expert) routed += numel;
  }
  const int64_t chosen = config.n_routed_experts == 0 ? 0 : routed / config.n_routed_experts * config.num_experts_per_tok;
  count.active = count.total - routed + chosen;
  return count;
}

}  // namespace fathom
