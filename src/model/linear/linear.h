// Seam 1: how a weight multiplies. Every matrix of the decoder is a Linear or a GroupedLinear (stacked experts); number formats, adapters
// and shards live behind them and nowhere else.
// Legend: M rows, K in_features, N out_features, R rows of a part of the weight, E experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "model/recompute.h"

namespace fathom {

// What a training step keeps of one operand for the products to come: the tensor itself, or what a number format made of it.
using KeptOperand = std::vector<at::Tensor>;

// The stored form of a weight: dense values, or a quantised format. One implementation a format (DenseWeight, Fp8BlockWeight).
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  virtual int64_t out_features() const = 0;
  virtual int64_t in_features() const = 0;
  // x [M, K] -> x W^T + bias [M, N] in x's dtype.
  virtual at::Tensor Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N = std::nullopt) const = 0;
  // dy [M, N] -> dx [M, K]
  virtual at::Tensor InputGradient(const at::Tensor& dy_MN) const = 0;
  // dy [M, N], x [M, K] -> dy^T x in the shape and dtype of trainable().
  virtual at::Tensor WeightGradient(const at::Tensor& dy_MN, const at::Tensor& x_MK) const;
  // The same three products as a training step makes them, for formats that turn an operand into something else once and use it twice. Dense weights
  // keep the tensors. Forward that also keeps of x what the weight's gradient needs:
  virtual at::Tensor ForwardKeeping(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N, KeptOperand& x_kept) const;
  // What that is of an x that comes later (made again by a backward).
  virtual KeptOperand KeepInput(const at::Tensor& x_MK) const { return {x_MK}; }
  // What the two gradients need of dy; for_input and for_weight say which are asked for.
  virtual KeptOperand KeepGradient(const at::Tensor& dy_MN, bool for_input, bool for_weight) const;
  virtual at::Tensor KeptInputGradient(const KeptOperand& dy) const;
  virtual at::Tensor KeptWeightGradient(const KeptOperand& dy, const KeptOperand& x) const;
  // Rows r0 .. r1 of the weight alone: x [M, K] -> [M, r1 - r0]; and the transpose: y [M, r1 - r0] -> [M, K].
  // MLA's absorbed decode uses these halves of kv_b_proj only.
  virtual at::Tensor ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const = 0;
  virtual at::Tensor TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const = 0;
  // The same for H heads at once, head h being rows h * stride + r0 .. h * stride + r1: x [M, H, K] -> [M, H, r1 - r0], and its transpose
  // y [M, H, r1 - r0] -> [M, H, K]. Without an override each head is one ForwardRows or TransposedRows.
  virtual at::Tensor ForwardHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const;
  virtual at::Tensor TransposedHeads(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const;
  // The dense tensor that training updates, undefined for a format that cannot be trained.
  virtual at::Tensor trainable() const { return {}; }
  virtual int64_t num_bytes() const = 0;
};

// y = x W^T + b, one autograd function that saves a handle of the weight (not its values).
class Linear {
 public:
  Linear() = default;
  Linear(std::shared_ptr<LinearWeight> weight, std::optional<at::Tensor> bias);
  at::Tensor operator()(const at::Tensor& x) const;  // x [..., K] -> [..., N]
  at::Tensor operator()(const Remade& x_MK) const;    // the same; a backward makes x again
  // The product with rows r0 .. r1 (without bias), and with their transpose. Not differentiable.
  at::Tensor ApplyRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const;
  at::Tensor ApplyRowsTransposed(const at::Tensor& y_MR, int64_t r0, int64_t r1) const;
  // The same for all heads: LinearWeight::ForwardHeads and TransposedHeads.
  at::Tensor ApplyHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const;
  at::Tensor ApplyHeadsTransposed(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const;
  const std::shared_ptr<LinearWeight>& weight() const { return weight_; }
  const std::optional<at::Tensor>& bias() const { return bias_; }
  explicit operator bool() const { return weight_ != nullptr; }

 private:
  std::shared_ptr<LinearWeight> weight_;
  std::optional<at::Tensor> bias_;
};

}  // namespace fathom
