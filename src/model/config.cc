#include "model/config.h"

#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "model/config_keys.h"
#include "model/config_rope.h"

namespace fathom {
namespace {

// Bounds that keep products of two sizes far from overflow.
constexpr int64_t kMaxWidth = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 10000;
constexpr int64_t kMaxToken = (int64_t{1} << 31) - 1;

const std::map<std::string, Architecture>& ArchitectureNames() {
  static const std::map<std::string, Architecture> names = {{"LlamaForCausalLM", Architecture::kLlama},
                                                            {"Qwen2ForCausalLM", Architecture::kQwen2},
                                                            {"DeepseekV2ForCausalLM", Architecture::kDeepseekV2},
                                                            {"DeepseekV3ForCausalLM", Architecture::kDeepseekV3},
                                                            {"DeepseekV32ForCausalLM", Architecture::kDeepseekV32}};
  return names;
}

const std::map<std::string, Architecture>& ModelTypeNames() {
  static const std::map<std::string, Architecture> names = {{"llama", Architecture::kLlama},
                                                            {"qwen2", Architecture::kQwen2},
                                                            {"deepseek_v2", Architecture::kDeepseekV2},
                                                            {"deepseek_v3", Architecture::kDeepseekV3},
                                                            {"deepseek_v32", Architecture::kDeepseekV32}};
  return names;
}

// Keys of released files that leave the forward pass of the released weights as it is: book-keeping, generation, training.
const std::set<std::string>& HarmlessKeys() {
  static const std::set<std::string> keys = {
      "_name_or_path", "transformers_version", "model_type", "auto_map", "torchscript", "use_cache", "return_dict", "use_bfloat16",
      "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "initializer_range", "is_llama_config", "rope_interleaved",
      "transformers.js_config", "aux_loss_alpha", "seq_aux", "router_aux_loss_coef", "ep_size", "use_mrope", "max_window_layers",
      "sliding_window", "qk_head_dim", "head_dim", "num_key_value_heads", "max_length", "min_length", "temperature", "top_k", "top_p",
      "num_beams", "num_beam_groups", "num_return_sequences", "repetition_penalty", "length_penalty", "diversity_penalty", "typical_p",
      "id2label", "label2id", "tokenizer_class", "chunk_size_feed_forward", "encoder_no_repeat_ngram_size", "no_repeat_ngram_size",
      "unsloth_version", "unsloth_fixed", "unsloth_training_batch_size", "attn_implementation", "_attn_implementation",
      "_attn_implementation_autoset", "problem_type", "task_specific_params", "finetuning_task", "sep_token_id", "cls_token_id",
      "decoder_start_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "forced_bos_token_id", "forced_eos_token_id",
      "image_token_id", "architectures", "cache_implementation", "early_stopping", "exponential_decay_length_penalty", "prefix",
      "index_n_heads", "index_head_dim", "index_topk"};
  return keys;
}

Architecture ReadArchitecture(ConfigKeys& keys) {
  const Json* names = keys.Find("architectures");
  const std::string type = keys.String("model_type", "");
  if (names != nullptr && !names->empty()) {
    if (!names->is_array() || names->size() != 1 || !names->front().is_string()) keys.Refuse("architectures", "must be a list of one name");
    const auto found = ArchitectureNames().find(names->front().get<std::string>());
    if (found == ArchitectureNames().end()) {
      keys.Refuse("architectures", "must be one of LlamaForCausalLM, Qwen2ForCausalLM, DeepseekV2ForCausalLM, DeepseekV3ForCausalLM, DeepseekV32ForCausalLM");
    }
    return found->second;
  }
  const auto found = ModelTypeNames().find(type);
  if (found == ModelTypeNames().end()) {
    keys.Refuse("model_type", "must be one of llama, qwen2, deepseek_v2, deepseek_v3, deepseek_v32 where architectures is missing");
  }
  return found->second;
}

void ReadTokens(ConfigKeys& keys, ModelConfig& config) {
  if (const Json* eos = keys.Find("eos_token_id")) {
    const Json list = eos->is_array() ? *eos : Json::array({*eos});
    for (const Json& id : list) {
      if (!id.is_number_integer() || id.get<double>() < -1 || id.get<double>() > kMaxToken) keys.Refuse("eos_token_id", "must be a token id or a list of them");
      if (id.get<int64_t>() >= 0) config.eos_token_ids.push_back(id.get<int64_t>());
    }
  }
  config.bos_token_id = keys.OptionalInt("bos_token_id", -1, kMaxToken);
  config.pad_token_id = keys.OptionalInt("pad_token_id", -1, kMaxToken);
}

void ReadDtype(ConfigKeys& keys, ModelConfig& config) {
  const std::string old_name = keys.String("torch_dtype", "float32");
  std::string dtype = keys.String("dtype", old_name);
  if (dtype.rfind("torch.", 0) == 0) dtype = dtype.substr(6);
  if (dtype != "float32" && dtype != "bfloat16" && dtype != "float16") {
    keys.Refuse(keys.Has("dtype") ? "dtype" : "torch_dtype", "must be float32, bfloat16 or float16");
  }
  config.dtype = dtype;
}

void ReadQuantization(ConfigKeys& keys, ModelConfig& config) {
  const Json* json = keys.Find("quantization_config");
  if (json == nullptr || json->empty()) return;
  ConfigKeys quant(*json, keys.what(), "quantization_config.");
  QuantizationConfig result;
  result.method = quant.String("quant_method", "");
  if (result.method != "fp8") quant.Refuse("quant_method", "must be fp8");
  if (quant.String("fmt", "e4m3") != "e4m3") quant.Refuse("fmt", "must be e4m3");
  if (quant.String("activation_scheme", "dynamic") != "dynamic") quant.Refuse("activation_scheme", "must be dynamic");
  result.scale_format = quant.String("scale_fmt", "");
  if (result.scale_format == "float") result.scale_format = "";
  if (!result.scale_format.empty() && result.scale_format != "ue8m0") quant.Refuse("scale_fmt", "must be ue8m0 or absent");
  const Json* block = quant.Find("weight_block_size");
  const bool is_block = block != nullptr && block->is_array() && block->size() == 2 && (*block)[0].is_number_integer() && (*block)[1].is_number_integer();
  if (!is_block || (*block)[0].get<int64_t>() < 1 || (*block)[1].get<int64_t>() < 1 || (*block)[0].get<int64_t>() > kMaxWidth ||
      (*block)[1].get<int64_t>() > kMaxWidth) {
    quant.Refuse("weight_block_size", "must be two positive whole numbers");
  }
  result.block_rows = (*block)[0].get<int64_t>();
  result.block_cols = (*block)[1].get<int64_t>();
  config.quantization = result;
}

// Which layers attend to a window only: none may.
void CheckLayerTypes(ConfigKeys& keys, const ModelConfig& config) {
  if (const Json* types = keys.Find("layer_types")) {
    const std::string expected = config.architecture == Architecture::kDeepseekV32 ? "deepseek_sparse_attention" : "full_attention";
    bool fits = types->is_array();
    if (fits) {
      for (const Json& type : *types) fits = fits && type == expected;
    }
    if (!fits) keys.Refuse("layer_types", fmt::format("must be a list of \"{}\" only", expected));
  }
  if (keys.Bool("use_sliding_window", false) && keys.Has("sliding_window")) {
    const int64_t first = keys.Int("max_window_layers", 0, kMaxLayers, 28);
    if (first < config.num_hidden_layers) keys.Refuse("use_sliding_window", "must be false: a sliding window is not supported");
  }
  if (config.architecture != Architecture::kQwen2 && keys.Find("sliding_window") != nullptr) {
    keys.Refuse("sliding_window", "must be null: a sliding window is not supported");
  }
}

void ReadGroupedQuery(ConfigKeys& keys, ModelConfig& config) {
  const int64_t heads = config.num_attention_heads;
  config.num_key_value_heads = keys.Int("num_key_value_heads", 1, kMaxWidth, heads);
  if (heads % config.num_key_value_heads != 0) keys.Refuse("num_key_value_heads", fmt::format("must divide num_attention_heads = {}", heads));
  if (!keys.Has("head_dim") && config.hidden_size % heads != 0) {
    keys.Refuse("num_attention_heads", fmt::format("must divide hidden_size = {} where head_dim is missing", config.hidden_size));
  }
  config.head_dim = keys.Int("head_dim", 2, kMaxWidth, config.hidden_size / heads);
  if (config.head_dim % 2 != 0) keys.Refuse("head_dim", "must be even (rotary pairs)");
  if (config.architecture == Architecture::kLlama) {
    config.attention_bias = keys.Bool("attention_bias", false);
    config.mlp_bias = keys.Bool("mlp_bias", false);
  } else {
    config.qkv_bias = true;
    keys.RequireNeutral("attention_bias", true, "Qwen2 always has a bias on q, k, v");
  }
  config.kv_lora_rank = config.qk_nope_head_dim = config.qk_rope_head_dim = config.v_head_dim = 0;
  config.q_lora_rank.reset();
  config.n_routed_experts = config.n_shared_experts = config.num_experts_per_tok = 0;
  config.moe_intermediate_size = config.first_k_dense_replace = 0;
  config.n_group = config.topk_group = 1;
  config.routing = Routing::kGreedySoftmax;
  config.norm_topk_prob = false;
  config.routed_scaling_factor = 1.0;
}

void ReadLatent(ConfigKeys& keys, ModelConfig& config) {
  config.num_key_value_heads = config.num_attention_heads;
  config.q_lora_rank = keys.OptionalInt("q_lora_rank", 1, kMaxWidth);
  config.kv_lora_rank = keys.Int("kv_lora_rank", 1, kMaxWidth);
  config.qk_nope_head_dim = keys.Int("qk_nope_head_dim", 1, kMaxWidth);
  config.qk_rope_head_dim = keys.Int("qk_rope_head_dim", 2, kMaxWidth);
  config.v_head_dim = keys.Int("v_head_dim", 1, kMaxWidth);
  if (config.qk_rope_head_dim % 2 != 0) keys.Refuse("qk_rope_head_dim", "must be even (rotary pairs)");
  config.attention_bias = keys.Bool("attention_bias", false);
  if (config.architecture == Architecture::kDeepseekV2) {
    config.mlp_bias = keys.Bool("mlp_bias", false);
  } else {
    keys.RequireNeutral("mlp_bias", false, "this architecture has no such bias");
  }
  config.rope_interleave = keys.Bool("rope_interleave", true);
  if (config.architecture != Architecture::kDeepseekV3 && !config.rope_interleave) {
    keys.Refuse("rope_interleave", "must be true for this architecture");
  }
}

void ReadIndexer(ConfigKeys& keys, ModelConfig& config) {
  if (config.architecture != Architecture::kDeepseekV32) return;
  config.index_n_heads = keys.Int("index_n_heads", 1, kMaxWidth, 64);
  config.index_head_dim = keys.Int("index_head_dim", 2, kMaxWidth, 128);
  config.index_topk = keys.Int("index_topk", 1, kMaxWidth, 2048);
  if (!config.q_lora_rank) keys.Refuse("q_lora_rank", "must be a positive whole number: the indexer reads the query's latent");
  if (config.index_head_dim < config.qk_rope_head_dim) {
    keys.Refuse("index_head_dim", fmt::format("must be at least qk_rope_head_dim = {}", config.qk_rope_head_dim));
  }
}

// mlp_layer_types is transformers 5's spelling of first_k_dense_replace: dense layers first, then sparse ones.
void ReadDenseLayers(ConfigKeys& keys, ModelConfig& config) {
  const int64_t otherwise = config.architecture == Architecture::kDeepseekV2 ? 0 : 3;
  config.first_k_dense_replace = keys.Int("first_k_dense_replace", 0, kMaxLayers, otherwise);
  const Json* types = keys.Find("mlp_layer_types");
  if (types == nullptr) return;
  const std::string rule = fmt::format("must list \"dense\" layers and after them \"sparse\" ones, {} together", config.num_hidden_layers);
  if (!types->is_array() || static_cast<int64_t>(types->size()) != config.num_hidden_layers) keys.Refuse("mlp_layer_types", rule);
  int64_t num_dense = 0;
  for (const Json& type : *types) num_dense += type == "dense" ? 1 : 0;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    if ((*types)[static_cast<size_t>(i)] != (i < num_dense ? "dense" : "sparse")) keys.Refuse("mlp_layer_types", rule);
  }
  config.first_k_dense_replace = num_dense;
}

void ReadRouting(ConfigKeys& keys, ModelConfig& config) {
  const bool is_v2 = config.architecture == Architecture::kDeepseekV2;
  const std::string method = keys.String("topk_method", is_v2 ? "greedy" : "noaux_tc");
  static const std::map<std::string, Routing> kMethods = {{"greedy", Routing::kGreedySoftmax},
                                                          {"group_limited_greedy", Routing::kGroupLimitedSoftmax},
                                                          {"noaux_tc", Routing::kNoauxTc},
                                                          {"softmax_temperature", Routing::kTemperatureSoftmax}};
  const auto found = kMethods.find(method);
  const bool fits = found != kMethods.end() && (is_v2 ? found->second != Routing::kNoauxTc : found->second == Routing::kNoauxTc);
  if (!fits) {
    keys.Refuse("topk_method", is_v2 ? "must be greedy, group_limited_greedy or softmax_temperature for this architecture" : "must be noaux_tc for this architecture");
  }
  config.routing = found->second;
  const std::string expected = is_v2 ? "softmax" : "sigmoid";
  if (keys.String("scoring_func", expected) != expected) keys.Refuse("scoring_func", fmt::format("must be {} for this architecture", expected));
}

void ReadExperts(ConfigKeys& keys, ModelConfig& config) {
  const bool is_v2 = config.architecture == Architecture::kDeepseekV2;
  ReadDenseLayers(keys, config);
  ReadRouting(keys, config);
  keys.RequireNeutral("moe_layer_freq", 1, "every layer after the dense ones is a mixture");
  config.n_shared_experts = keys.Int("n_shared_experts", 0, kMaxWidth, 0);
  config.norm_topk_prob = keys.Bool("norm_topk_prob", !is_v2);
  config.routed_scaling_factor = keys.Real("routed_scaling_factor", -1e6, 1e6, is_v2 ? 1.0 : 2.5);
  config.n_group = keys.Int("n_group", 1, kMaxWidth, 1);
  config.topk_group = keys.Int("topk_group", 1, kMaxWidth, 1);
  config.n_routed_experts = keys.Int("n_routed_experts", 0, 1 << 20, 0);
  if (config.n_routed_experts == 0) {
    config.num_experts_per_tok = keys.Int("num_experts_per_tok", 0, kMaxWidth, 0);
    config.moe_intermediate_size = keys.Int("moe_intermediate_size", 0, kMaxWidth, 0);
    config.first_k_dense_replace = config.num_hidden_layers;
    return;
  }
  config.moe_intermediate_size = keys.Int("moe_intermediate_size", 1, kMaxWidth);
  config.num_experts_per_tok = keys.Int("num_experts_per_tok", 1, config.n_routed_experts);
  const bool is_grouped = config.routing == Routing::kNoauxTc || config.routing == Routing::kGroupLimitedSoftmax;
  if (!is_grouped) {
    config.n_group = config.topk_group = 1;
    return;
  }
  if (config.n_routed_experts % config.n_group != 0) keys.Refuse("n_group", fmt::format("must divide n_routed_experts = {}", config.n_routed_experts));
  if (config.topk_group > config.n_group) keys.Refuse("topk_group", fmt::format("must be at most n_group = {}", config.n_group));
  const int64_t group_size = config.n_routed_experts / config.n_group;
  if (config.routing == Routing::kNoauxTc && config.n_group > 1 && group_size < 2) keys.Refuse("n_group", "must leave two experts a group: a group's score is the sum of its two best");
  if (config.num_experts_per_tok > group_size * config.topk_group) {
    keys.Refuse("num_experts_per_tok", fmt::format("must be at most the {} experts of topk_group = {} groups", group_size * config.topk_group, config.topk_group));
  }
}

}  // namespace

ModelConfig ParseModelConfig(const Json& json, const std::string& what) {
  ConfigKeys keys(json, what);
  ModelConfig config;
  config.architecture = ReadArchitecture(keys);
  config.vocab_size = keys.Int("vocab_size", 1, kMaxToken);
  config.hidden_size = keys.Int("hidden_size", 1, kMaxWidth);
  config.intermediate_size = keys.Int("intermediate_size", 1, kMaxWidth);
  config.num_hidden_layers = keys.Int("num_hidden_layers", 1, kMaxLayers);
  config.num_attention_heads = keys.Int("num_attention_heads", 1, 1 << 16);
  config.rms_norm_eps = keys.Real("rms_norm_eps", 0, 1, 1e-6);
  config.initializer_range = keys.Real("initializer_range", 0, 1e3, 0.02);
  config.tie_word_embeddings = keys.Bool("tie_word_embeddings", false);
  static const std::map<Architecture, int64_t> kContexts = {{Architecture::kLlama, 2048}, {Architecture::kQwen2, 32768},
      {Architecture::kDeepseekV2, 2048}, {Architecture::kDeepseekV3, 4096}, {Architecture::kDeepseekV32, 163840}};
  config.max_position_embeddings = keys.Int("max_position_embeddings", 1, kMaxToken, kContexts.at(config.architecture));
  const std::string activation = keys.String("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") keys.Refuse("hidden_act", "must be silu");
  keys.RequireNeutral("pretraining_tp", 1, "products split as in tensor-parallel pretraining are not supported");
  ReadTokens(keys, config);
  ReadDtype(keys, config);
  ReadQuantization(keys, config);
  ReadRope(keys, config);
  CheckLayerTypes(keys, config);
  if (config.has_mla()) {
    ReadLatent(keys, config);
    ReadIndexer(keys, config);
    ReadExperts(keys, config);
    const int64_t num_mtp = keys.Int("num_mtp_layers", 0, 16, 0);
    config.num_nextn_predict_layers = keys.Int("num_nextn_predict_layers", 0, 16, num_mtp);
    const bool is_v2 = config.architecture == Architecture::kDeepseekV2;
    if (is_v2 && config.num_nextn_predict_layers != 0) keys.Refuse("num_nextn_predict_layers", "must be 0 for this architecture");
    if (is_v2 && config.norm_topk_prob && config.routing != Routing::kTemperatureSoftmax) {
      LogWarn("{}: norm_topk_prob is true, which transformers does not apply to this architecture; neither does this program", what);
      config.norm_topk_prob = false;
    }
  } else {
    ReadGroupedQuery(keys, config);
  }
  keys.RefuseUnknown(HarmlessKeys());
  return config;
}

int64_t ModelConfig::kv_values_per_token_per_layer() const {
  if (has_mla()) return kv_lora_rank + qk_rope_head_dim + (has_indexer() ? index_head_dim : 0);
  return 2 * num_key_value_heads * head_dim;
}

double ModelConfig::attention_scale() const {
  if (!has_mla()) return 1.0 / std::sqrt(static_cast<double>(head_dim));
  const double scale = 1.0 / std::sqrt(static_cast<double>(qk_nope_head_dim + qk_rope_head_dim));
  const double all_dim = rope_scaling.mscale_all_dim.value_or(0);
  if (rope_scaling.kind == RopeKind::kDefault || all_dim == 0 || rope_scaling.factor <= 1) return scale;
  const double mscale = 0.1 * all_dim * std::log(rope_scaling.factor) + 1.0;
  return scale * mscale * mscale;
}

}  // namespace fathom
