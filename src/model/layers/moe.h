// A mixture of experts (DeepSeekMoE, arXiv 2401.06066): routed experts chosen a token at a time, and shared ones that see every token.
#pragma once

#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "model/layers/layer.h"
#include "model/layers/mlp.h"
#include "model/linear/grouped_linear.h"
#include "model/linear/linear.h"
#include "model/weight_store.h"
#include "ops/router/router.h"

namespace fathom {

class Moe final : public FeedForward {
 public:
  // trace_idx: the layer's place in a RoutingTrace.
  Moe(const ModelConfig& config, int64_t layer_idx, int64_t trace_idx, WeightStore& store);
  at::Tensor operator()(const at::Tensor& x_TD, const LayerStep& step) const override;

 private:
  at::Tensor Logits(const at::Tensor& x_TD, const LayerStep& step) const;  // [T, E] float32

  // (weights [T, K], topk_idx [T, K]), chosen or replayed, recorded in the step's trace.
  std::tuple<at::Tensor, at::Tensor> Route(const at::Tensor& x_TD, const LayerStep& step) const;
  // weights_TK with the balance loss joined to the graph.
  at::Tensor WithBalance(const at::Tensor& logits_TE, const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, BalanceLoss& balance) const;
  // The whole mixture (with `shared`'s network where it is not null) in one operator, where there are few tokens and the weights are dense values of
  // x's dtype. For steps that do not train.
  std::optional<at::Tensor> Mixed(const at::Tensor& x_TD, const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, const Mlp* shared) const;
  // The routed experts' sum, on the device of their weights.
  at::Tensor Routed(const at::Tensor& x_TD, const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, const ForwardContext& context) const;

  // The layer's entry of a list that has one for each mixture.
  at::Tensor& At(std::vector<at::Tensor>& of_layers) const {
    if (of_layers.size() <= static_cast<size_t>(trace_idx_)) of_layers.resize(static_cast<size_t>(trace_idx_) + 1);
    return of_layers[static_cast<size_t>(trace_idx_)];
  }

  int64_t num_experts_, trace_idx_;
  bool experts_are_apart_;  // on the CPU, while the rest of the layer is not
  ops::RouterParams params_;
  Linear router_;
  at::Tensor bias_;             // e_score_correction_bias [E], or undefined
  at::Tensor log_temperature_;  // [1], or undefined
  GroupedLinear gate_up_, down_;
  std::unique_ptr<Mlp> shared_;
};

}  // namespace fathom
