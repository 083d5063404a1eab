// The gated feed-forward network: down(silu(gate x) * up x).
#pragma once

#include "model/layers/layer.h"
#include "model/linear/linear.h"
#include "model/recompute.h"
#include "model/weight_store.h"

namespace fathom {

// ops::swiglu, and how a backward has it again from what went in.
Remade SwigluOf(const at::Tensor& gate_up);

class Mlp final : public FeedForward {
 public:
  // The three roles of its matrices: a dense layer's or the shared experts'.
  Mlp(WeightRole gate, WeightRole up, WeightRole down, int64_t layer_idx, WeightStore& store);
  at::Tensor operator()(const at::Tensor& x_TD, const LayerStep& step) const override;

  const Linear& gate_up() const { return gate_up_; }
  const Linear& down() const { return down_; }

 private:
  Linear gate_up_, down_;  // gate and up are rows of one leaf
};

}  // namespace fathom
