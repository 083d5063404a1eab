// One decoder layer and the MTP module, the mathematics between the seams.
#pragma once

#include <cstdint>
#include <memory>

#include "model/layers/layer.h"
#include "model/linear/linear.h"
#include "model/weight_store.h"

namespace fathom {

// Hidden rows as a sum that is not made yet: the addition joins the next norm. `pending` may be undefined (zero).
struct ResidualStream {
  at::Tensor residual_TD, pending_TD;
  at::Tensor Sum() const;
  // norm(residual + pending); the sum becomes the residual.
  at::Tensor Normalize(const at::Tensor& weight_D, double eps);
  void MoveTo(at::Device device);
};

class DecoderLayer {
 public:
  DecoderLayer(const ModelConfig& config, int64_t layer_idx, WeightStore& store);
  // x += attention(norm(x)); x += feed_forward(norm(x)).
  void operator()(ResidualStream& stream, const LayerStep& step) const;

 private:
  double eps_;
  at::Tensor input_norm_, post_attention_norm_;
  std::unique_ptr<AttentionLayer> attention_;
  std::unique_ptr<FeedForward> feed_forward_;
};

// The layer with nothing of it kept for the backward, which runs it again (model/recompute.h). What step.context points to lives until then.
void RunAgainInBackward(const DecoderLayer& layer, ResidualStream& stream, const LayerStep& step);

// Multi-token prediction (DeepSeek-V3, arXiv 2412.19437, 2.2, in the order of the released weights):
//   h' = layer(eh_proj [enorm(Emb(next token)); hnorm(h)]), and shared_head.norm before the shared head.
class MtpModule {
 public:
  MtpModule(const ModelConfig& config, int64_t depth_idx, WeightStore& store);
  at::Tensor operator()(const at::Tensor& next_embedding_TD, const at::Tensor& hidden_TD, const LayerStep& step) const;
  at::Tensor HeadNorm(const at::Tensor& hidden_TD) const;

 private:
  double eps_;
  at::Tensor embedding_norm_, hidden_norm_, head_norm_;
  Linear projection_;
  DecoderLayer layer_;
  int64_t layer_idx_;
};

}  // namespace fathom
