// Attention for training and scoring: every sequence is whole in the batch.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "model/attention_backend.h"
#include "model/layers/indexer.h"
#include "model/mla_expansion.h"
#include "model/placement.h"
#include "ops/attention/attention.h"
#include "ops/attention/mla_attention.h"

namespace fathom {
namespace {

class PackedCausal final : public AttentionBackend {
 public:
  PackedCausal(const ModelConfig& config, const PackedBatch& batch)
      : cu_seqlens_(batch.cu_seqlens), index_topk_(config.index_topk), lens_(config.has_indexer() ? HostLens(batch) : std::vector<int32_t>{}),
        max_len_(batch.lens.empty() ? 0 : *std::max_element(batch.lens.begin(), batch.lens.end())) {}

  at::Tensor Gqa(int64_t, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) override {
    return ops::packed_attention(q, k, v, cu_seqlens_.On(q.device()), cu_seqlens_.On(q.device()), scale, -1, std::nullopt, max_len_);
  }

  at::Tensor Mla(int64_t, const MlaInputs& inputs) override {
    if (inputs.q_THD.defined()) {
      const at::Tensor kv_THC = (*inputs.kv_b)(inputs.latent_TR).view({inputs.q_THD.size(0), inputs.q_THD.size(1), -1});
      return ops::mla_packed_attention(inputs.q_THD, kv_THC, inputs.k_rope_TD, cu_seqlens_.On(inputs.q_THD.device()), inputs.scale, Choose(inputs),
                                       max_len_);
    }
    const ExpandedKeys keys = Expand(inputs, inputs.latent_TR, inputs.k_rope_TD);
    const at::Tensor& cu_seqlens = cu_seqlens_.On(keys.q_THD.device());
    return ops::packed_attention(keys.q_THD, keys.k_SHD, keys.v_SHD, cu_seqlens, cu_seqlens, inputs.scale, -1, Choose(inputs), max_len_);
  }

 private:
  // Sequences no longer than index_topk see every key: nothing to choose.
  std::optional<at::Tensor> Choose(const MlaInputs& inputs) const {
    if (lens_.empty() || *std::max_element(lens_.begin(), lens_.end()) <= index_topk_) return std::nullopt;
    std::vector<at::Tensor> choices;
    int64_t first = 0;
    for (const int64_t n : lens_) {
      choices.push_back(ChooseKeys(inputs.index_q_THD.narrow(0, first, n), inputs.index_k_TD.narrow(0, first, n),
                                   inputs.index_weights_TH.narrow(0, first, n), index_topk_));
      first += n;
    }
    return StackChoices(choices);
  }

  DeviceCopies cu_seqlens_;
  int64_t index_topk_;
  std::vector<int32_t> lens_;
  int64_t max_len_;  // 0: the host does not know
};

}  // namespace

PackedBatch PackedBatch::FromSequences(const std::vector<std::vector<int32_t>>& sequences, at::Device device) {
  int64_t T = 0;
  for (const auto& sequence : sequences) T += static_cast<int64_t>(sequence.size());
  at::Tensor tokens = at::empty({T}, at::kLong), positions = at::empty({T}, at::kLong);
  at::Tensor cu_seqlens = at::empty({static_cast<int64_t>(sequences.size()) + 1}, at::kInt);
  PackedBatch batch;
  int64_t* token = tokens.mutable_data_ptr<int64_t>();
  int64_t* position = positions.mutable_data_ptr<int64_t>();
  int32_t* limit = cu_seqlens.mutable_data_ptr<int32_t>();
  *limit = 0;
  for (const auto& sequence : sequences) {
    for (size_t i = 0; i < sequence.size(); ++i) {
      *token++ = sequence[i];
      *position++ = static_cast<int64_t>(i);
    }
    limit[1] = limit[0] + static_cast<int32_t>(sequence.size());
    ++limit;
    batch.lens.push_back(static_cast<int32_t>(sequence.size()));
  }
  batch.tokens_T = tokens.to(device);
  batch.positions_T = positions.to(device);
  batch.cu_seqlens = cu_seqlens.to(device);
  return batch;
}

std::vector<int32_t> HostLens(const PackedBatch& batch) {
  if (!batch.lens.empty()) return batch.lens;
  const at::Tensor limits = batch.cu_seqlens.to(at::kCPU).contiguous();
  const int32_t* limit = limits.const_data_ptr<int32_t>();
  std::vector<int32_t> lens;
  for (int64_t b = 0; b + 1 < limits.numel(); ++b) lens.push_back(limit[b + 1] - limit[b]);
  return lens;
}

std::unique_ptr<AttentionBackend> MakePackedCausal(const ModelConfig& config, const PackedBatch& batch) {
  return std::make_unique<PackedCausal>(config, batch);
}

}  // namespace fathom
