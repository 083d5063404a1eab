// The one list of weights: each weight of an architecture once, with its Hugging Face name, shape, kind and the member that it fills. Loading, saving, counting, inspecting, optimizer groups and tests all walk it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/config.h"

namespace fathom {

class Model;

enum class WeightKind { kEmbedding, kLinear, kNorm, kBias, kRouter, kRouterBias, kHead, kScalar };
enum class ShardRule { kReplicated, kColumn, kRow, kExpert, kVocabulary };

// What a weight is to its layer: with layer_idx and expert_idx it names the member that the weight fills, so that names stand in the table alone.
enum class WeightRole {
  kEmbedTokens, kFinalNorm, kLmHead,
  kInputNorm, kPostAttentionNorm,
  kQ, kK, kV, kO,                                                   // grouped-query attention; MLA without q_lora has kQ, MLA always kO
  kQA, kQANorm, kQB, kKvA, kKvANorm, kKvB,                          // MLA
  kIndexQB, kIndexK, kIndexKNorm, kIndexWeights,                    // V3.2's indexer
  kMlpGate, kMlpUp, kMlpDown,                                       // dense layer
  kRouter, kRouterBias, kLogTemperature,
  kExpertGate, kExpertUp, kExpertDown, kSharedGate, kSharedUp, kSharedDown,
  kMtpEmbed, kMtpENorm, kMtpHNorm, kMtpProjection, kMtpHeadNorm, kMtpHead,
};

struct WeightSpec {
  std::string name;               // Hugging Face's, e.g. model.layers.3.mlp.experts.7.up_proj.weight
  std::vector<int64_t> shape;
  WeightKind kind = WeightKind::kLinear;
  ShardRule shard = ShardRule::kReplicated;
  bool keep_float32 = false;      // e_score_correction_bias, log_temperature
  bool is_mtp = false;            // belongs to the MTP module
  bool is_routed_expert = false;
  // Another weight's name whose tensor this one is (lm_head of tied embeddings, layers.61.embed_tokens): it is not stored twice;
  // a file may hold it or leave it out.
  std::string tied_to = "";
  bool optional = false;          // may be absent from a file (log_temperature)
  WeightRole role = WeightRole::kEmbedTokens;  // kind == kBias: the bias that stands beside this role's matrix
  int64_t layer_idx = -1;         // num_hidden_layers + depth in the MTP modules
  int64_t expert_idx = -1;        // of a routed expert
};

// From the configuration alone (no memory for weights): what `inspect` prints.
std::vector<WeightSpec> ListWeights(const ModelConfig& config);

// The matrices that V3's files hold, and its training multiplies, in FP8: attention's and the feed-forward networks', without router, head, embedding and
// MTP's projection.
bool IsFp8Matrix(const WeightSpec& spec);

struct ParameterCount {
  int64_t total = 0;   // without the MTP module
  int64_t active = 0;  // a token uses: total less the routed experts that it does not choose, and the embedding counted as stored
  int64_t mtp = 0;
};
ParameterCount CountParameters(const ModelConfig& config);

}  // namespace fathom
