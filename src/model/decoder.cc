// Legend: T packed tokens, D hidden_size.
#include "model/decoder.h"

#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>

#include <memory>
#include <tuple>
#include <vector>

#include "model/layers/gqa.h"
#include "model/layers/mla.h"
#include "model/layers/mlp.h"
#include "model/layers/moe.h"
#include "model/recompute.h"
#include "ops/norm/norm.h"

namespace fathom {

at::Tensor ResidualStream::Sum() const { return pending_TD.defined() ? at::add(residual_TD, pending_TD) : residual_TD; }

void ResidualStream::MoveTo(at::Device device) {
  residual_TD = residual_TD.to(device);
  if (pending_TD.defined()) pending_TD = pending_TD.to(device);
}

at::Tensor ResidualStream::Normalize(const at::Tensor& weight_D, double eps) {
  if (!pending_TD.defined()) return ops::rms_norm(residual_TD, weight_D, eps);
  at::Tensor normed_TD;
  std::tie(normed_TD, residual_TD) = ops::add_rms_norm(pending_TD, residual_TD, weight_D, eps);
  pending_TD.reset();
  return normed_TD;
}

DecoderLayer::DecoderLayer(const ModelConfig& config, int64_t layer_idx, WeightStore& store)
    : eps_(config.rms_norm_eps),
      input_norm_(store.Tensor({WeightRole::kInputNorm}, layer_idx)),
      post_attention_norm_(store.Tensor({WeightRole::kPostAttentionNorm}, layer_idx)) {
  if (config.has_mla()) attention_ = std::make_unique<MlaAttention>(config, layer_idx, store);
  else attention_ = std::make_unique<GqaAttention>(config, layer_idx, store);
  if (config.is_moe_layer(layer_idx)) {
    feed_forward_ = std::make_unique<Moe>(config, layer_idx, layer_idx - config.first_k_dense_replace, store);
  } else {
    feed_forward_ = std::make_unique<Mlp>(WeightRole::kMlpGate, WeightRole::kMlpUp, WeightRole::kMlpDown, layer_idx, store);
  }
}

void DecoderLayer::operator()(ResidualStream& stream, const LayerStep& step) const {
  stream.pending_TD = (*attention_)(stream.Normalize(input_norm_, eps_), step);
  stream.pending_TD = (*feed_forward_)(stream.Normalize(post_attention_norm_, eps_), step);
}

MtpModule::MtpModule(const ModelConfig& config, int64_t depth_idx, WeightStore& store)
    : eps_(config.rms_norm_eps),
      embedding_norm_(store.Tensor({WeightRole::kMtpENorm}, config.num_hidden_layers + depth_idx)),
      hidden_norm_(store.Tensor({WeightRole::kMtpHNorm}, config.num_hidden_layers + depth_idx)),
      head_norm_(store.Tensor({WeightRole::kMtpHeadNorm}, config.num_hidden_layers + depth_idx)),
      projection_(store.MakeLinear({WeightRole::kMtpProjection}, config.num_hidden_layers + depth_idx)),
      layer_(config, config.num_hidden_layers + depth_idx, store),
      layer_idx_(config.num_hidden_layers + depth_idx) {}

void RunAgainInBackward(const DecoderLayer& layer, ResidualStream& stream, const LayerStep& step) {
  std::vector<at::Tensor> inputs = {stream.residual_TD};
  if (stream.pending_TD.defined()) inputs.push_back(stream.pending_TD);
  const auto context = std::make_shared<const ForwardContext>(step.context);
  const auto run = [&layer, context, cos_TD = step.cos_TD, sin_TD = step.sin_TD](const std::vector<at::Tensor>& in) {
    ResidualStream again{in[0], in.size() > 1 ? in[1] : at::Tensor()};
    layer(again, LayerStep{cos_TD, sin_TD, *context});
    return std::vector<at::Tensor>{again.residual_TD, again.pending_TD};
  };
  const std::vector<at::Tensor> outputs = Recompute(run, inputs);
  stream.residual_TD = outputs[0];
  stream.pending_TD = outputs[1];
}

at::Tensor MtpModule::operator()(const at::Tensor& next_embedding_TD, const at::Tensor& hidden_TD, const LayerStep& step) const {
  const at::Tensor both = at::cat({ops::rms_norm(next_embedding_TD, embedding_norm_, eps_), ops::rms_norm(hidden_TD, hidden_norm_, eps_)}, 1);
  ResidualStream stream{projection_(both), {}};
  const RecomputePlan* plan = step.context.recompute;
  if (plan != nullptr && plan->HasLayer(layer_idx_)) RunAgainInBackward(layer_, stream, step);
  else layer_(stream, step);
  return stream.Sum();
}

at::Tensor MtpModule::HeadNorm(const at::Tensor& hidden_TD) const { return ops::rms_norm(hidden_TD, head_norm_, eps_); }

}  // namespace fathom
