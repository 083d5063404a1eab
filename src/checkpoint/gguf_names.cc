#include "checkpoint/gguf_names.h"

#include "base/error.h"

namespace fathom {
namespace {

// nullptr where GGUF has no name. Names of whole models come without a layer's prefix.
const char* RoleName(WeightRole role) {
  switch (role) {
    case WeightRole::kEmbedTokens: return "token_embd";
    case WeightRole::kFinalNorm: return "output_norm";
    case WeightRole::kLmHead: return "output";
    case WeightRole::kInputNorm: return "attn_norm";
    case WeightRole::kPostAttentionNorm: return "ffn_norm";
    case WeightRole::kQ: return "attn_q";
    case WeightRole::kK: return "attn_k";
    case WeightRole::kV: return "attn_v";
    case WeightRole::kO: return "attn_output";
    case WeightRole::kQA: return "attn_q_a";
    case WeightRole::kQANorm: return "attn_q_a_norm";
    case WeightRole::kQB: return "attn_q_b";
    case WeightRole::kKvA: return "attn_kv_a_mqa";
    case WeightRole::kKvANorm: return "attn_kv_a_norm";
    case WeightRole::kKvB: return "attn_kv_b";
    case WeightRole::kMlpGate: return "ffn_gate";
    case WeightRole::kMlpUp: return "ffn_up";
    case WeightRole::kMlpDown: return "ffn_down";
    case WeightRole::kRouter: return "ffn_gate_inp";
    case WeightRole::kRouterBias: return "exp_probs_b";
    case WeightRole::kExpertGate: return "ffn_gate_exps";
    case WeightRole::kExpertUp: return "ffn_up_exps";
    case WeightRole::kExpertDown: return "ffn_down_exps";
    case WeightRole::kSharedGate: return "ffn_gate_shexp";
    case WeightRole::kSharedUp: return "ffn_up_shexp";
    case WeightRole::kSharedDown: return "ffn_down_shexp";
    default: return nullptr;
  }
}

}  // namespace

std::string GgufName(const WeightSpec& spec) {
  const char* name = RoleName(spec.role);
  FATHOM_USER_CHECK(name != nullptr && !spec.is_mtp, "weight {} has no name in GGUF files of this architecture", spec.name);
  const bool is_bias = spec.kind == WeightKind::kBias || spec.kind == WeightKind::kRouterBias;
  const std::string prefix = spec.layer_idx >= 0 ? fmt::format("blk.{}.", spec.layer_idx) : "";
  return prefix + name + (is_bias ? ".bias" : ".weight");
}

}  // namespace fathom
