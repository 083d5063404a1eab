// Grouped-query attention (Ainslie 2023, arXiv 2305.13245) of Llama and Qwen2.
#pragma once

#include "model/layers/layer.h"
#include "model/linear/linear.h"
#include "model/weight_store.h"

namespace fathom {

class GqaAttention final : public AttentionLayer {
 public:
  GqaAttention(const ModelConfig& config, int64_t layer_idx, WeightStore& store);
  at::Tensor operator()(const at::Tensor& x_TD, const LayerStep& step) const override;

 private:
  int64_t layer_idx_, num_heads_, num_kv_heads_, head_dim_;
  double scale_;
  Linear qkv_, o_;  // q, k and v are rows of one leaf
};

}  // namespace fathom
