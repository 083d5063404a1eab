// Seam 2: where keys and values live. A layer hands over its queries and new keys/values; the backend stores, gathers and attends.
// Two implementations: PackedCausal (training, scoring: no cache) and PagedCache (serving).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "model/config.h"
#include "model/linear/linear.h"

namespace fathom {

struct ModelOptions;

// One layer's MLA inputs for T packed tokens.
struct MlaInputs {
  at::Tensor q_nope_THD, q_rope_THD;  // [T, H, nope], [T, H, rope] (rotated)
  at::Tensor q_THD;                   // both in one, [T, H, nope + rope], where the layer trains (the others are then its views); else undefined
  at::Tensor latent_TR;               // [T, kv_lora_rank], after kv_a_layernorm; undefined where the layer wrote LatentRows itself
  at::Tensor k_rope_TD;               // [T, rope] (rotated); undefined likewise
  const Linear* kv_b = nullptr;       // [H * (nope + v), kv_lora_rank]
  // V3.2's indexer (undefined without one): its queries, keys and head weights.
  at::Tensor index_q_THD, index_k_TD, index_weights_TH;
  double scale = 1.0;
};

class AttentionBackend {
 public:
  virtual ~AttentionBackend() = default;
  // q [T, H, D], k and v [T, G, D] (rotated) -> [T, H, D].
  virtual at::Tensor Gqa(int64_t layer_idx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) = 0;
  // Where the layer may write its latents and rotated keys itself (ops/cache/store_latents.h) before it calls Mla. Undefined: it hands them over.
  struct LatentRows {
    at::Tensor cache_SW;  // [slots, kv_lora_rank + rope]
    at::Tensor slots_T;   // int64, the row of each token
  };
  virtual LatentRows MlaRows(int64_t /*layer_idx*/) { return {}; }
  // -> [T, H, v_head_dim].
  virtual at::Tensor Mla(int64_t layer_idx, const MlaInputs& inputs) = 0;
};

// Tokens packed for one forward: T tokens of B sequences. Built on the host once a step and sent to the device.
struct PackedBatch {
  at::Tensor tokens_T;     // int64
  at::Tensor positions_T;  // int64, position of each token in its sequence
  at::Tensor cu_seqlens;   // [B+1] int32
  std::vector<int32_t> lens;  // host copy: tokens of each sequence in the batch; empty: read from cu_seqlens when a backend is made
  // A batch of whole sequences (no cache): positions start at 0.
  static PackedBatch FromSequences(const std::vector<std::vector<int32_t>>& sequences, at::Device device);
};

// Tokens of each sequence of the batch, on the host.
std::vector<int32_t> HostLens(const PackedBatch& batch);

// Training and scoring: every sequence is whole in the batch.
std::unique_ptr<AttentionBackend> MakePackedCausal(const ModelConfig& config, const PackedBatch& batch);

// The paged cache of one model: num_pages pages of kPageTokens tokens in every layer (and in the MTP module's layers), allocated at once.
// MLA holds kv_lora_rank + rope values a token a layer and nothing else (plus index_head_dim for the indexer's keys).
inline constexpr int64_t kPageTokens = 64;
class PagedCache {
 public:
  // In the numbers of options.kv_cache, each layer's pages on the device of its weights (model/placement.h). Throws MachineError when memory does not
  // suffice, the UserError of CheckCacheFormat.
  PagedCache(const ModelConfig& config, const ModelOptions& options, int64_t num_pages);
  ~PagedCache();
  int64_t num_pages() const;
  int64_t num_bytes() const;

  // The view of one step. Sequence b has its pages in page_table[b] (page ids; -1 past its end), kv_lens[b] tokens including those of
  // the batch; the batch's tokens are its last ones. MLA takes the absorbed form for the batch's first sequences as long as they have at most
  // kMostAbsorbedTokens tokens in it, the expanded form for the others: put decode before prompts.
  struct Step {
    std::vector<std::vector<int32_t>> page_table;
    std::vector<int32_t> kv_lens;
  };
  static constexpr int64_t kMostAbsorbedTokens = 4;
  std::unique_ptr<AttentionBackend> Bind(const PackedBatch& batch, const Step& step);

  // The view of a step of one token a sequence whose limits are on the device: the host reads none of them, so that a forward over it can be
  // recorded in a CUDA graph and replayed with other values in the same tensors.
  struct DeviceStep {
    at::Tensor slots_B;     // int64: where each token's row goes, page * kPageTokens + position % kPageTokens
    at::Tensor page_table;  // [B, W] int32; entries past a sequence's end are not read
    at::Tensor kv_lens_B;   // int32
  };
  std::unique_ptr<AttentionBackend> BindDecode(const PackedBatch& batch, const DeviceStep& step);

 private:
  struct Storage;
  std::unique_ptr<Storage> storage_;
  friend class PagedAttention;
};

}  // namespace fathom
