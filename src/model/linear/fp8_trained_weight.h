// Weights that train in FP8 as DeepSeek-V3's report describes (arXiv 2412.19437, 3.3): the leaf stays in the trainer's dtype, all three products of a
// training step take e4m3 operands with block scales (activations and gradients 1 x 128 along the sum, weights 128 x 128). The weight is quantised once a change of
// its leaf (its version counter), each activation and gradient once for all its products.
// Legend: M rows, N out_features, K in_features, E experts.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "model/linear/dense_weight.h"
#include "ops/fp8/fp8.h"

namespace fathom {

// The two FP8 forms of a leaf [E, N, K], made again when the leaf's values have changed. Safe from several threads.
class Fp8Forms {
 public:
  explicit Fp8Forms(const at::Tensor& leaf_ENK) : leaf_(leaf_ENK.detach()) {}  // shares the leaf's values and version
  ops::Fp8WeightForms Get() const;

 private:
  at::Tensor leaf_;
  mutable std::mutex mutex_;
  mutable ops::Fp8WeightForms forms_;
  mutable int64_t version_ = -1;
};

class Fp8TrainedWeight final : public LinearWeight {
 public:
  // leaf [N, K], contiguous, f32 or bf16.
  explicit Fp8TrainedWeight(const at::Tensor& leaf_NK) : dense_(leaf_NK), forms_(leaf_NK.detach().unsqueeze(0)) {}
  int64_t out_features() const override { return dense_.out_features(); }
  int64_t in_features() const override { return dense_.in_features(); }
  at::Tensor Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN) const override { return KeptInputGradient(KeepGradient(dy_MN, true, false)); }
  at::Tensor ForwardKeeping(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N, KeptOperand& x_kept) const override;
  KeptOperand KeepInput(const at::Tensor& x_MK) const override;
  KeptOperand KeepGradient(const at::Tensor& dy_MN, bool for_input, bool for_weight) const override;
  at::Tensor KeptInputGradient(const KeptOperand& dy) const override;
  at::Tensor KeptWeightGradient(const KeptOperand& dy, const KeptOperand& x) const override;
  // Parts of the weight are for decoding, which takes the leaf's own values.
  at::Tensor ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const override { return dense_.ForwardRows(x_MK, r0, r1); }
  at::Tensor TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const override { return dense_.TransposedRows(y_MR, r0, r1); }
  at::Tensor ForwardHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const override { return dense_.ForwardHeads(x_MHK, stride, r0, r1); }
  at::Tensor TransposedHeads(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const override {
    return dense_.TransposedHeads(y_MHR, stride, r0, r1);
  }
  at::Tensor trainable() const override { return dense_.trainable(); }
  int64_t num_bytes() const override { return dense_.num_bytes(); }

 private:
  DenseWeight dense_;
  Fp8Forms forms_;
};

class Fp8TrainedGroupedWeight final : public GroupedWeight {
 public:
  // leaf [E, N, K], contiguous, f32 or bf16.
  explicit Fp8TrainedGroupedWeight(const at::Tensor& leaf_ENK) : leaf_(leaf_ENK), forms_(leaf_ENK) {}
  at::Tensor Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN, const at::Tensor& offsets) const override {
    return KeptInputGradient(KeepGradient(dy_MN, offsets, true, false), offsets);
  }
  at::Tensor ForwardKeeping(const at::Tensor& x_MK, const at::Tensor& offsets, KeptOperand& x_kept) const override;
  KeptOperand KeepInput(const at::Tensor& x_MK, const at::Tensor& offsets) const override;
  KeptOperand KeepGradient(const at::Tensor& dy_MN, const at::Tensor& offsets, bool for_input, bool for_weight) const override;
  at::Tensor KeptInputGradient(const KeptOperand& dy, const at::Tensor& offsets) const override;
  at::Tensor KeptWeightGradient(const KeptOperand& dy, const KeptOperand& x, const at::Tensor& offsets) const override;
  at::Tensor trainable() const override { return leaf_; }
  int64_t num_bytes() const override { return static_cast<int64_t>(leaf_.nbytes()); }

 private:
  at::Tensor leaf_;
  Fp8Forms forms_;
};

}  // namespace fathom
