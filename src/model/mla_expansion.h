// MLA's expanded form: keys and values of every head from the latents.
// Legend: S keys, H heads, R kv_lora_rank.
#pragma once

#include "model/attention_backend.h"

namespace fathom {

struct ExpandedKeys {
  at::Tensor q_THD;  // [T, H, nope + rope]
  at::Tensor k_SHD;  // [S, H, nope + rope]
  at::Tensor v_SHD;  // [S, H, v_head_dim], a view of kv_b's product
};

// latent [S, R] and k_rope [S, rope] may be the batch's own or read back from a cache. Differentiable.
ExpandedKeys Expand(const MlaInputs& inputs, const at::Tensor& latent_SR, const at::Tensor& k_rope_SD);

// The indexer's choices of sequences one after the other: widths differ, so rows are padded with -1 to the widest.
at::Tensor StackChoices(const std::vector<at::Tensor>& choices);

}  // namespace fathom
