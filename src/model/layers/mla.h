// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, 2.1), with V3.2's indexer where the configuration has one.
#pragma once

#include <memory>

#include "model/layers/indexer.h"
#include "model/layers/layer.h"
#include "model/linear/linear.h"
#include "model/weight_store.h"

namespace fathom {

class MlaAttention final : public AttentionLayer {
 public:
  MlaAttention(const ModelConfig& config, int64_t layer_idx, WeightStore& store);
  at::Tensor operator()(const at::Tensor& x_TD, const LayerStep& step) const override;

 private:
  const ModelConfig& config_;
  int64_t layer_idx_;
  Linear q_;                 // q_b_proj; q_proj where it is not in a_
  Linear a_;                 // q_a_proj or q_proj, and kv_a_proj_with_mqa, in one leaf; or kv_a_proj_with_mqa alone
  bool q_is_in_a_ = false;
  Linear kv_b_, o_;
  at::Tensor q_a_norm_, kv_a_norm_;
  std::unique_ptr<Indexer> indexer_;
};

}  // namespace fathom
