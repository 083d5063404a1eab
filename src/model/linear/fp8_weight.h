// DeepSeek-V3's FP8 files kept as they are: e4m3 values with one float32 scale a block of block_rows x block_cols (a ragged last block is a
// block). Half the memory of bfloat16. On the CPU rows are expanded a piece at a time while they multiply; on CUDA, with V3's blocks of 128 x 128, up to 16 rows
// are multiplied by values expanded in registers, and more are quantised to 1 x 128 blocks first ("activation_scheme": "dynamic"). Not trainable.
// Legend: N out_features, K in_features, E experts; NB, KB blocks along N and K.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "model/config.h"
#include "model/linear/dense_weight.h"
#include "model/linear/grouped_linear.h"
#include "model/linear/linear.h"
#include "ops/fp8/fp8.h"

namespace fathom {

class Fp8BlockWeight final : public LinearWeight {
 public:
  // N = out_features rows of K = in_features columns; Set fills it.
  Fp8BlockWeight(int64_t out_features, int64_t in_features, const QuantizationConfig& quantization);
  // The memory that Set copies into: for a weight that is part of a larger one.
  void Use(const at::Tensor& values_NK, const at::Tensor& scales);
  // values [N, K] float8_e4m3fn, scales [NB, KB] float32: w[n, k] = values[n, k] * scales[n / block_rows, k / block_cols].
  // Keeps the tensors, copies nothing (unless Use gave memory). Throws UserError when a shape or dtype does not fit.
  void Set(const at::Tensor& values_NK, const at::Tensor& scales);
  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  at::Tensor Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN) const override;
  at::Tensor ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const override;
  at::Tensor TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const override;
  at::Tensor ForwardHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const override;
  at::Tensor TransposedHeads(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const override;
  int64_t num_bytes() const override;
  // Rows r0 .. r1 expanded: [r1 - r0, K] in `dtype`.
  at::Tensor Expand(int64_t r0, int64_t r1, at::ScalarType dtype) const;

 private:
  bool HasKernels(int64_t r0) const;  // of src/ops/fp8, for rows from r0 on
  const DenseWeight& Expanded(at::ScalarType dtype) const;

  int64_t out_features_, in_features_, block_rows_, block_cols_;
  bool power_of_two_;
  bool in_place_ = false;  // Use gave the memory
  at::Tensor values_, scales_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<DenseWeight> expanded_;  // kv_b's halves a head, on CUDA: dense from the first use on
};

// Weights of the same K one above the other: what a fused leaf is where its parts keep a format of their own.
class StackedWeight final : public LinearWeight {
 public:
  explicit StackedWeight(std::vector<std::shared_ptr<LinearWeight>> parts) : parts_(std::move(parts)) {}
  int64_t out_features() const override;
  int64_t in_features() const override { return parts_.front()->in_features(); }
  at::Tensor Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN) const override;
  at::Tensor ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const override;
  at::Tensor TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const override;
  int64_t num_bytes() const override;

 private:
  // Calls visit(part, first row of the overlap within the part, one past its last, offset of the overlap within r0 .. r1).
  template <typename Visit>
  void ForOverlaps(int64_t r0, int64_t r1, Visit visit) const;
  std::vector<std::shared_ptr<LinearWeight>> parts_;
};

// Stacked experts in FP8 on CUDA, blocks of 128 x 128: values [E, N, K] e4m3, scales [E, NB, KB].
class Fp8GroupedWeight final : public GroupedWeight {
 public:
  Fp8GroupedWeight(ops::Fp8Blocks w, bool power_of_two) : w_(std::move(w)), power_of_two_(power_of_two) {}
  at::Tensor Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN, const at::Tensor& offsets) const override;
  int64_t num_bytes() const override { return static_cast<int64_t>(w_.values.nbytes() + w_.scales.nbytes()); }

 private:
  ops::Fp8Blocks w_;
  bool power_of_two_;
};

// One LinearWeight an expert. Reads the experts' limits on the host, so it is for CPU tensors.
class SeparateGroupedWeight final : public GroupedWeight {
 public:
  explicit SeparateGroupedWeight(std::vector<std::shared_ptr<LinearWeight>> experts) : experts_(std::move(experts)) {}
  at::Tensor Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN, const at::Tensor& offsets) const override;
  int64_t num_bytes() const override;

 private:
  std::vector<std::shared_ptr<LinearWeight>> experts_;
};

}  // namespace fathom
