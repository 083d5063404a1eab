// Rotary angles of positions, for every scaling kind.
// Legend: T tokens, D rotary width; tables are [T, D/2] float32.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "model/attention_backend.h"
#include "model/config.h"

namespace fathom {

// inv_freq[i] = theta^(-2i / D), scaled as the kind says:
//   linear (kaiokendev): / factor; dynamic NTK (bloc97): theta grows with the sequence's length past max_position_embeddings;
//   YaRN (Peng 2023, arXiv 2309.00071, 3.2): interpolated below beta_slow rotations, kept above beta_fast, a ramp between; cos and sin times
//   attention_factor, or mscale(factor, mscale) / mscale(factor, mscale_all_dim) with mscale(s, m) = 0.1 m ln s + 1;
//   llama3: interpolated by wavelength, with a smooth band between the low and the high frequency factor.
class RopeTable {
 public:
  RopeTable(const ModelConfig& config, at::Device device);
  // (cos, sin) of the batch's positions, the kind's factor on cos and sin included.
  std::pair<at::Tensor, at::Tensor> At(const PackedBatch& batch) const;
  const at::Tensor& inv_freq() const { return inv_freq_; }
  double factor() const { return factor_; }

 private:
  at::Tensor DynamicInvFreq(const PackedBatch& batch) const;  // [T, D/2]
  RopeScaling scaling_;
  double theta_;
  int64_t width_, max_position_;
  at::Tensor inv_freq_;  // [D/2]
  double factor_ = 1.0;
};

}  // namespace fathom
