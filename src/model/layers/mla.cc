// Legend: T packed tokens, D hidden_size, H heads, Q q_lora_rank, R kv_lora_rank.
#include "model/layers/mla.h"

#include <vector>

#include "ops/attention/mla_attention.h"
#include "ops/cache/store_latents.h"
#include "ops/norm/norm.h"
#include "ops/rope/rope.h"

namespace fathom {
namespace {

// The latents' norms take no eps from the configuration: the released code and transformers leave it at this value.
constexpr double kLatentNormEps = 1e-6;

}  // namespace

MlaAttention::MlaAttention(const ModelConfig& config, int64_t layer_idx, WeightStore& store) : config_(config), layer_idx_(layer_idx) {
  if (config.q_lora_rank) {
    a_ = store.MakeLinear({WeightRole::kQA, WeightRole::kKvA}, layer_idx);
    q_a_norm_ = store.Tensor({WeightRole::kQANorm}, layer_idx);
    q_ = store.MakeLinear({WeightRole::kQB}, layer_idx);
  } else {
    // One product where it can be: attention_bias gives kv_a a bias, and the queries none.
    q_is_in_a_ = !store.Has(WeightRole::kKvA, layer_idx, /*is_bias=*/true);
    a_ = store.MakeLinear(q_is_in_a_ ? std::vector{WeightRole::kQ, WeightRole::kKvA} : std::vector{WeightRole::kKvA}, layer_idx);
    if (!q_is_in_a_) q_ = store.MakeLinear({WeightRole::kQ}, layer_idx);
  }
  kv_a_norm_ = store.Tensor({WeightRole::kKvANorm}, layer_idx);
  kv_b_ = store.MakeLinear({WeightRole::kKvB}, layer_idx);
  o_ = store.MakeLinear({WeightRole::kO}, layer_idx);
  if (config.has_indexer()) indexer_ = std::make_unique<Indexer>(config, layer_idx, store);
}

at::Tensor MlaAttention::operator()(const at::Tensor& x_TD, const LayerStep& step) const {
  const int64_t T = x_TD.size(0), H = config_.num_attention_heads, R = config_.kv_lora_rank, Q = config_.q_lora_rank.value_or(0);
  const int64_t nope = config_.qk_nope_head_dim, rope = config_.qk_rope_head_dim;
  const at::Tensor a = a_(x_TD);  // [T, Q or H * (nope + rope) or nothing | R | rope]
  const int64_t first = q_is_in_a_ ? H * (nope + rope) : Q;  // column of the latent
  const bool trains = step.trains();
  // One split has one backward, which joins the gradients; a view a part would each make a whole one.
  const std::vector<at::Tensor> parts = trains ? a.split_with_sizes({first, R, rope}, 1)
                                               : std::vector{a.narrow(1, 0, first), a.narrow(1, first, R), a.narrow(1, first + R, rope)};
  at::Tensor q_latent_TQ;
  if (Q > 0) q_latent_TQ = ops::rms_norm(parts[0], q_a_norm_, kLatentNormEps);
  const at::Tensor q = (q_is_in_a_ ? parts[0] : q_(Q > 0 ? q_latent_TQ : x_TD)).reshape({T, H, nope + rope});
  MlaInputs inputs;
  inputs.q_nope_THD = q.narrow(2, 0, nope);
  const AttentionBackend::LatentRows rows = trains ? AttentionBackend::LatentRows{} : step.context.attention->MlaRows(layer_idx_);
  if (rows.cache_SW.defined() && rows.cache_SW.scalar_type() == a.scalar_type()) {
    inputs.q_rope_THD = ops::store_latents(rows.cache_SW, rows.slots_T, a.narrow(1, first, R + rope), kv_a_norm_, q.narrow(2, nope, rope), step.cos_TD,
                                           step.sin_TD, kLatentNormEps, config_.rope_interleave);
  } else {
    if (trains) {
      inputs.q_THD = ops::rope_tail(q, step.cos_TD, step.sin_TD, config_.rope_interleave);
      inputs.q_nope_THD = inputs.q_THD.narrow(2, 0, nope);
      inputs.q_rope_THD = inputs.q_THD.narrow(2, nope, rope);
    } else {
      inputs.q_rope_THD = ops::rope(q.narrow(2, nope, rope), step.cos_TD, step.sin_TD, config_.rope_interleave);
    }
    inputs.latent_TR = ops::rms_norm(parts[1], kv_a_norm_, kLatentNormEps);
    inputs.k_rope_TD = ops::rope(parts[2].unsqueeze(1), step.cos_TD, step.sin_TD, config_.rope_interleave).squeeze(1);
  }
  inputs.kv_b = &kv_b_;
  inputs.scale = config_.attention_scale();
  if (indexer_) indexer_->Fill(x_TD, q_latent_TQ, step, inputs);
  const at::Tensor out_THD = step.context.attention->Mla(layer_idx_, inputs);
  return o_(out_THD.reshape({T, H * config_.v_head_dim}));
}

}  // namespace fathom
