// The parts of a decoder layer. Legend: T packed tokens, D hidden_size.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <cstdint>

#include "model/model.h"

namespace fathom {

// What every layer of one forward shares.
struct LayerStep {
  at::Tensor cos_TD, sin_TD;  // rotary tables [T, rotary width / 2] float32
  const ForwardContext& context;
  // A backward will follow, of this call or of one that makes the same again: both take the same kernels.
  bool trains() const { return at::GradMode::is_enabled() || context.recompute != nullptr; }
};

// Grouped-query attention or MLA: normalised hidden rows [T, D] -> [T, D].
class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;
  virtual at::Tensor operator()(const at::Tensor& x_TD, const LayerStep& step) const = 0;
};

// A dense network or a mixture of experts: normalised hidden rows [T, D] -> [T, D].
class FeedForward {
 public:
  virtual ~FeedForward() = default;
  virtual at::Tensor operator()(const at::Tensor& x_TD, const LayerStep& step) const = 0;
};

}  // namespace fathom
