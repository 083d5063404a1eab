// The decoder: embed, layers [a, b), norm; the head and the MTP module are separate calls on hidden rows. One forward on packed tokens
// trains, scores, prefills and decodes (docs/architecture.md, "One mathematics").
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/attention_backend.h"
#include "model/cache_format.h"
#include "model/config.h"
#include "model/weight_table.h"
#include "ops/ggml_linear/ggml_linear.h"

namespace fathom {

struct ModelOptions {
  at::ScalarType dtype = at::kBFloat16;  // of weights and activations
  at::Device device = at::kCPU;
  // Where `device` cannot hold everything (model/placement.h): the last device_layers layers are on it and the others on the CPU (-1: all are on
  // it), and with host_experts the routed experts of every layer stay on the CPU. Rows of hidden values travel, weights do not.
  int64_t device_layers = -1;
  bool host_experts = false;
  CacheFormat kv_cache = CacheFormat::kModel;  // of the paged caches made for the model
  bool keep_fp8 = false;  // keep V3's FP8 block weights in FP8 (half the memory) instead of expanding them to dtype
  // Train in FP8 (arXiv 2412.19437, 3.3): all three products of attention's and the feed-forward networks' matrices take e4m3 blocks; leaves, embedding, head,
  // router, norms and attention itself keep their dtypes. dtype bf16 or f32.
  bool fp8_training = false;
  // Keep a GGUF file's blocks as they are where the CPU has products for their format (dtype bf16): decode reads fewer bytes. For inference.
  bool keep_ggml = false;
  std::map<std::string, ops::BlockFormat> block_formats = {};  // of the weights that may keep their blocks; LoadModel fills it
};

// Where one weight of the table goes. The loader copies into `values` (a view, possibly a slice of a fused or stacked leaf, of the model's dtype);
// or, where set_fp8 is there, hands over the e4m3 values [N, K] and scales [ceil(N/128), ceil(K/128)] float32 unexpanded;
// or copies the rows' ggml blocks into `blocks`.
struct WeightSlot {
  at::Tensor values;
  at::Tensor blocks;  // [N, bytes of a row] uint8 in the format that ModelOptions::block_formats gives; else undefined
  std::function<void(const at::Tensor& values_e4m3, const at::Tensor& scale_inv)> set_fp8;
};

// What a forward records or replays about the experts; all optional.
struct RoutingTrace {
  std::vector<at::Tensor> topk_idx;  // a MoE layer (the MTP modules' last): [T, K] int32, filled by a forward that records
  bool replay = false;               // true: use these choices instead of choosing
  bool count = false;                // record counts_E too
  std::vector<at::Tensor> counts_E;  // like topk_idx: how often each expert was chosen, [E] int32 on the device
};

// The balance loss of the mixtures (ops/balance/balance.h), joined to the graph where the scores are made.
struct BalanceLoss {
  at::Tensor cu_seqlens;            // [B + 1] int32: the groups of tokens that it evens out: sequences (V3), or the whole batch (a classic auxiliary loss)
  at::Tensor scale;                 // [1] float32 on the device: alpha, times what the step multiplies its loss by
  std::vector<at::Tensor> terms_B;  // a MoE layer (as RoutingTrace): sum_e f P of each group, filled by the forward
};

// What a training step makes again in its backward instead of keeping it.
struct RecomputePlan {
  std::vector<bool> layers;  // whole layers, by index (num_hidden_layers + depth in the MTP modules); may be shorter than the model
  bool swiglu = false;  // the activations of SwiGLU (V3)
  bool HasLayer(int64_t layer_idx) const { return static_cast<size_t>(layer_idx) < layers.size() && layers[static_cast<size_t>(layer_idx)]; }
};

class TokenDispatcher;

struct ForwardContext {
  AttentionBackend* attention = nullptr;
  const TokenDispatcher* dispatcher = nullptr;  // null: every expert is here
  RoutingTrace* routing = nullptr;
  double router_temperature = 1.0;  // schedule(step) of Routing::kTemperatureSoftmax
  BalanceLoss* balance = nullptr;
  // With a plan, whatever the context points to is used until the backward is over.
  const RecomputePlan* recompute = nullptr;
};

class Model {
 public:
  // Allocates every weight, uninitialised. Throws MachineError when memory does not suffice.
  Model(const ModelConfig& config, const ModelOptions& options);
  ~Model();

  const ModelConfig& config() const;
  const ModelOptions& options() const;

  // Visits every stored weight once, in the order of ListWeights (ties are skipped).
  void ForEachWeight(const std::function<void(const WeightSpec&, WeightSlot&)>& visit);
  // Normal(0, initializer_range) for matrices, ones for norms, zeros for biases, from `seed`.
  void InitializeRandom(uint64_t seed);

  // The leaves that a trainer updates: (name of the leaf, tensor with requires_grad). A leaf may hold several rows of the table.
  std::vector<std::pair<std::string, at::Tensor>> TrainableLeaves();
  void RequireGrad(bool on);

  // tokens [T] int64 -> hidden [T, D].
  at::Tensor Embed(const at::Tensor& tokens_T) const;
  // Layers [first, last) on hidden rows; batch gives positions and limits.
  at::Tensor Layers(const at::Tensor& hidden_TD, const PackedBatch& batch, const ForwardContext& context, int64_t first, int64_t last) const;
  // The final norm.
  at::Tensor Norm(const at::Tensor& hidden_TD) const;
  // Embed, all layers, norm: [T, D], on the model's device.
  at::Tensor Forward(const PackedBatch& batch, const ForwardContext& context) const;
  // Logits [rows, V] of hidden rows after the norm, in the model's dtype.
  at::Tensor Head(const at::Tensor& hidden_rows) const;
  // The head's dense weight [V, D] (the embedding where they are tied); undefined in a format that cannot be trained.
  at::Tensor HeadWeight() const;

  // The MTP module of depth `depth_idx` (V3, arXiv 2412.19437, 2.2): hidden rows (after model.norm, or the previous depth's output) at positions i, and
  // the tokens at i + 1, give hidden rows that predict i + 2 (its own layer's cache slot is num_hidden_layers + depth_idx). The caller packs the rows: a
  // sequence of n tokens has n - 1 rows, so the shift never crosses a sequence's end. MtpHeadNorm applies shared_head.norm, MtpHead the head too.
  at::Tensor Mtp(int64_t depth_idx, const at::Tensor& hidden_TD, const PackedBatch& next_tokens, const ForwardContext& context) const;
  at::Tensor MtpHeadNorm(int64_t depth_idx, const at::Tensor& mtp_hidden_TD) const;
  at::Tensor MtpHead(int64_t depth_idx, const at::Tensor& mtp_hidden_TD) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
