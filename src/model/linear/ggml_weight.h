// Weights that stay in ggml's blocks, as a GGUF file has them: decode reads a quarter of the bytes of bfloat16. Many rows are multiplied
// by bfloat16 rows expanded a piece at a time. On the CPU; not trainable.
// Legend: N out_features, K in_features, B bytes of a row of blocks.
#pragma once

#include <utility>

#include "model/linear/linear.h"
#include "ops/ggml_linear/ggml_linear.h"

namespace fathom {

class GgmlWeight final : public LinearWeight {
 public:
  // blocks [N, B] uint8, contiguous; kept, not copied.
  GgmlWeight(at::Tensor blocks_NB, ops::BlockFormat format) : blocks_(std::move(blocks_NB)), format_(format) {}
  int64_t out_features() const override { return blocks_.size(0); }
  int64_t in_features() const override { return blocks_.size(1) / ops::BlockBytes(format_) * ops::kBlockValues; }
  at::Tensor Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const override;
  at::Tensor InputGradient(const at::Tensor& dy_MN) const override;
  at::Tensor ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const override;
  at::Tensor TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const override;
  int64_t num_bytes() const override { return static_cast<int64_t>(blocks_.nbytes()); }
  // The rows of an embedding: tokens [T] int64 -> [T, K] bfloat16.
  at::Tensor Embed(const at::Tensor& tokens_T) const;

 private:
  // Rows r0 .. r1 in `dtype`, from their bfloat16 values.
  at::Tensor Expand(int64_t r0, int64_t r1, at::ScalarType dtype) const;
  int64_t RowsAtOnce() const;

  at::Tensor blocks_;
  ops::BlockFormat format_;
};

}  // namespace fathom
