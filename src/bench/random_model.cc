#include "bench/random_model.h"

#include <c10/core/ScalarType.h>

#include <filesystem>

#include "base/error.h"
#include "base/free_memory.h"
#include "base/json.h"
#include "model/weight_table.h"

namespace fathom {
namespace {

ModelConfig V2Lite() {
  ModelConfig config;
  config.architecture = Architecture::kDeepseekV2;
  config.vocab_size = 102400;
  config.hidden_size = 2048;
  config.num_hidden_layers = 27;
  config.num_attention_heads = config.num_key_value_heads = 16;
  config.intermediate_size = 10944;
  config.moe_intermediate_size = 1408;
  config.n_routed_experts = 64;
  config.n_shared_experts = 2;
  config.num_experts_per_tok = 6;
  config.n_group = config.topk_group = 1;
  config.routing = Routing::kGreedySoftmax;
  config.norm_topk_prob = false;
  config.routed_scaling_factor = 1.0;
  config.first_k_dense_replace = 1;
  config.q_lora_rank.reset();
  return config;
}

ModelConfig V3Layer() {
  ModelConfig config;  // V3's defaults
  config.num_hidden_layers = 1;
  config.first_k_dense_replace = 0;
  config.vocab_size = 1024;
  return config;
}

ModelConfig Moe1b() {
  ModelConfig config;  // V3's routing
  config.vocab_size = 32768;
  config.hidden_size = 1024;
  config.intermediate_size = 4096;
  config.moe_intermediate_size = 512;
  config.num_hidden_layers = 12;
  config.num_attention_heads = config.num_key_value_heads = 16;
  config.q_lora_rank = 512;
  config.kv_lora_rank = 256;
  config.n_routed_experts = 64;
  config.n_shared_experts = 1;
  config.num_experts_per_tok = 6;
  config.n_group = config.topk_group = 1;
  config.first_k_dense_replace = 1;
  config.max_position_embeddings = 4096;
  config.initializer_range = 0.02;
  return config;
}

}  // namespace

ModelConfig NamedConfig(const std::string& name) {
  if (name == "v2-lite") return V2Lite();
  if (name == "v3-layer") return V3Layer();
  if (name == "moe-1b") return Moe1b();
  std::filesystem::path path = name;
  FATHOM_USER_CHECK(std::filesystem::exists(path), "--config must be v2-lite, v3-layer, moe-1b or a config.json, got '{}'", name);
  if (std::filesystem::is_directory(path)) path /= "config.json";
  return ParseModelConfig(ReadJsonFile(path), path.string());
}

int64_t WeightBytes(const ModelConfig& config, at::ScalarType dtype) {
  int64_t bytes = 0;
  for (const WeightSpec& spec : ListWeights(config)) {
    if (!spec.tied_to.empty()) continue;
    int64_t numel = 1;
    for (const int64_t n : spec.shape) numel *= n;
    bytes += numel * (spec.keep_float32 ? 4 : static_cast<int64_t>(c10::elementSize(dtype)));
  }
  return bytes;
}

std::shared_ptr<Model> MakeRandomModel(const ModelConfig& config, const ModelOptions& options) {
  if (options.device.is_cpu()) {
    const int64_t needed = WeightBytes(config, options.dtype), free = FreeMemoryBytes();
    if (needed > free) ThrowMachineError("not enough memory: the weights need {:.1f} GB and {:.1f} GB are free", needed / 1e9, free / 1e9);
  }
  auto model = std::make_shared<Model>(config, options);
  model->InitializeRandom(1);
  return model;
}

}  // namespace fathom
