// The lightning indexer of DeepSeek-V3.2: which keys a query attends to. I[t, s] = sum_h w[t, h] ReLU(q[t, h] . k[s]); the index_topk best stay.
#pragma once

#include "model/layers/layer.h"
#include "model/linear/linear.h"
#include "model/weight_store.h"

namespace fathom {

class Indexer {
 public:
  Indexer(const ModelConfig& config, int64_t layer_idx, WeightStore& store);
  // Fills inputs.index_*: queries [T, H, d], keys [T, d], head weights [T, H] float32 with both scales (d^-1/2 is left to the scores).
  // The choice is not differentiable: no gradient flows.
  void Fill(const at::Tensor& x_TD, const at::Tensor& q_latent_TQ, const LayerStep& step, MlaInputs& inputs) const;

 private:
  int64_t num_heads_, head_dim_, rope_dim_;
  Linear q_b_, k_, weights_;
  at::Tensor k_norm_weight_, k_norm_bias_;
};

// The choice: the last n queries of S keys. q [n, H, d], k [S, d], weights [n, H] float32 -> [n, min(topk, S)] int32, best first; a query's list
// may hold keys after it when fewer than topk stand before it (attention applies causality again).
at::Tensor ChooseKeys(const at::Tensor& q_nHd, const at::Tensor& k_Sd, const at::Tensor& weights_nH, int64_t topk);

}  // namespace fathom
