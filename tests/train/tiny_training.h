// A tiny mixture of V3's kind and batches for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/model.h"
#include "train/batch.h"

namespace fathom {

inline ModelConfig TinyMixture(int64_t mtp_depths = 0) {
  ModelConfig config;
  config.vocab_size = 31;
  config.hidden_size = 24;
  config.intermediate_size = 26;
  config.num_hidden_layers = 3;
  config.num_attention_heads = config.num_key_value_heads = 2;
  config.q_lora_rank = 10;
  config.kv_lora_rank = 14;
  config.qk_nope_head_dim = 6;
  config.qk_rope_head_dim = 4;
  config.v_head_dim = 7;
  config.n_routed_experts = 8;
  config.num_experts_per_tok = 2;
  config.moe_intermediate_size = 9;
  config.first_k_dense_replace = 1;
  config.n_group = config.topk_group = 1;
  config.num_nextn_predict_layers = mtp_depths;
  config.initializer_range = 0.2;
  return config;
}

struct TinyModel : Model {
  explicit TinyModel(const ModelConfig& config, at::ScalarType dtype = at::kFloat, uint64_t seed = 5) : Model(config, {.dtype = dtype}) {
    InitializeRandom(seed);
  }
};

// Sequences of counted tokens: token i + 1 follows token i, so that there is something to learn.
inline TrainBatch CountingBatch(const std::vector<int32_t>& lens, int64_t first, int64_t vocab, int64_t mtp_depths = 0) {
  std::vector<int64_t> tokens, targets;
  for (const int32_t n : lens) {
    for (int32_t i = 0; i < n; ++i) {
      tokens.push_back((first + i * 3) % vocab);
      targets.push_back(i + 1 < n ? (first + (i + 1) * 3) % vocab : -100);
    }
    first += 11;
  }
  return MakeTrainBatch(tokens, targets, lens, mtp_depths, at::kCPU);
}

inline std::vector<at::Tensor> Gradients(Model& model) {
  std::vector<at::Tensor> gradients;
  for (auto& [name, leaf] : model.TrainableLeaves()) gradients.push_back(leaf.grad().defined() ? leaf.grad().clone() : at::Tensor());
  return gradients;
}

inline void ClearGradients(Model& model) {
  for (auto& [name, leaf] : model.TrainableLeaves()) leaf.mutable_grad().reset();
}

}  // namespace fathom
