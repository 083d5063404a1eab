// Legend: T packed tokens, D hidden_size, H query heads, G key/value heads, d head_dim.
#include "model/layers/gqa.h"

#include <vector>

#include "ops/rope/rope.h"

namespace fathom {

GqaAttention::GqaAttention(const ModelConfig& config, int64_t layer_idx, WeightStore& store)
    : layer_idx_(layer_idx),
      num_heads_(config.num_attention_heads),
      num_kv_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim),
      scale_(config.attention_scale()),
      qkv_(store.MakeLinear({WeightRole::kQ, WeightRole::kK, WeightRole::kV}, layer_idx)),
      o_(store.MakeLinear({WeightRole::kO}, layer_idx)) {}

at::Tensor GqaAttention::operator()(const at::Tensor& x_TD, const LayerStep& step) const {
  const int64_t T = x_TD.size(0), H = num_heads_, G = num_kv_heads_;
  const at::Tensor qkv = qkv_(x_TD).view({T, H + 2 * G, head_dim_});
  // Splits: one backward joins the gradients of the parts.
  const std::vector<at::Tensor> parts = qkv.split_with_sizes({H + G, G}, 1);
  const std::vector<at::Tensor> qk = ops::rope(parts[0], step.cos_TD, step.sin_TD, /*interleaved=*/false).split_with_sizes({H, G}, 1);
  const at::Tensor out_THd = step.context.attention->Gqa(layer_idx_, qk[0], qk[1], parts[1], scale_);
  return o_(out_THd.reshape({T, H * head_dim_}));
}

}  // namespace fathom
