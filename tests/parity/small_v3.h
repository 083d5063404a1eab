// DeepSeek-V3 with three small layers, of sizes that the paged and the FP8 kernels take.
#pragma once

#include "model/config.h"

namespace fathom::parity {

inline ModelConfig SmallV3() {
  ModelConfig config;
  config.vocab_size = 96;
  config.hidden_size = 256;
  config.intermediate_size = 384;
  config.moe_intermediate_size = 128;
  config.num_hidden_layers = 3;
  config.num_attention_heads = config.num_key_value_heads = 4;
  config.q_lora_rank = 128;
  config.kv_lora_rank = 512;  // V3's, as the paged kernels want it
  config.n_routed_experts = 8;
  config.n_shared_experts = 1;
  config.num_experts_per_tok = 2;
  config.n_group = config.topk_group = 1;
  config.first_k_dense_replace = 1;
  config.num_nextn_predict_layers = 0;
  config.max_position_embeddings = 512;
  config.initializer_range = 0.05;
  return config;
}

}  // namespace fathom::parity
