// Stacked experts: one product for the rows of every expert.
// Legend: M rows sorted by expert, K in_features, N out_features, E experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "model/linear/linear.h"
#include "model/recompute.h"

namespace fathom {

// The stored form of E matrices [N, K].
class GroupedWeight {
 public:
  virtual ~GroupedWeight() = default;
  // y[i] = w[e] x[i] for rows offsets[e] <= i < offsets[e + 1]; offsets [E + 1] int32 -> [M, N].
  virtual at::Tensor Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const = 0;
  // dy [M, N] -> dx [M, K]
  virtual at::Tensor InputGradient(const at::Tensor& dy_MN, const at::Tensor& offsets) const = 0;
  // As LinearWeight's: what a training step keeps, and its products.
  virtual at::Tensor ForwardKeeping(const at::Tensor& x_MK, const at::Tensor& offsets, KeptOperand& x_kept) const;
  virtual KeptOperand KeepInput(const at::Tensor& x_MK, const at::Tensor& offsets) const;
  virtual KeptOperand KeepGradient(const at::Tensor& dy_MN, const at::Tensor& offsets, bool for_input, bool for_weight) const;
  virtual at::Tensor KeptInputGradient(const KeptOperand& dy, const at::Tensor& offsets) const;
  // [E, N, K] in the shape and dtype of trainable().
  virtual at::Tensor KeptWeightGradient(const KeptOperand& dy, const KeptOperand& x, const at::Tensor& offsets) const;
  // The dense [E, N, K] that training updates, undefined for a format that cannot be trained.
  virtual at::Tensor trainable() const { return {}; }
  virtual int64_t num_bytes() const = 0;
};

// The same autograd rules as Linear: saves a handle of the weight, and can queue its weight gradient.
class GroupedLinear {
 public:
  GroupedLinear() = default;
  explicit GroupedLinear(std::shared_ptr<GroupedWeight> weight);
  at::Tensor operator()(const at::Tensor& x_MK, const at::Tensor& offsets) const;
  at::Tensor operator()(const Remade& x_MK, const at::Tensor& offsets) const;  // a backward makes x again
  const std::shared_ptr<GroupedWeight>& weight() const { return weight_; }
  explicit operator bool() const { return weight_ != nullptr; }

 private:
  std::shared_ptr<GroupedWeight> weight_;
};

}  // namespace fathom
