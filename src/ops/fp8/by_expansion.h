// FP8 products by expanding the values first: the CPU's implementation (in float32), and every device's without tensor cores for FP8 (in bf16).
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/zeros.h>

#include "ops/fp8/fp8.h"
#include "ops/library.h"

namespace fathom::ops {

// fp8_expand of both forms; here so that a library of another device has them too.
inline Tensor ExpandRows(const Tensor& values_MK, const Tensor& scales, at::ScalarType dtype) {
  const Tensor scales_MK = at::repeat_interleave(scales.t(), kFp8Block, 1).narrow(1, 0, values_MK.size(1));
  return values_MK.to(at::kFloat).mul_(scales_MK).to(dtype);
}
inline Tensor ExpandBlocks(const Tensor& values_ENK, const Tensor& scales, at::ScalarType dtype) {
  const Tensor rows = at::repeat_interleave(scales, kFp8Block, 1).narrow(1, 0, values_ENK.size(1));
  return values_ENK.to(at::kFloat).mul_(at::repeat_interleave(rows, kFp8Block, 2).narrow(2, 0, values_ENK.size(2))).to(dtype);
}

// [0, rows], as the offsets of one group.
inline Tensor OneGroup(int64_t rows, const Tensor& like) { return at::arange(2, like.options().dtype(at::kInt)).mul_(rows); }

inline Tensor Fp8LinearByExpansion(const Tensor& x, const Tensor& x_scales, const Tensor& w, const Tensor& w_scales, const OptionalTensor& offsets,
                                   at::ScalarType dtype, at::ScalarType between) {
  if (x.size(0) == 0 || w.size(1) == 0 || x.size(1) == 0) return at::zeros({x.size(0), w.size(1)}, x.options().dtype(dtype));
  const Tensor groups = offsets ? *offsets : OneGroup(x.size(0), x);
  return GroupedLinearOp::CallBelowAutograd(ExpandRows(x, x_scales, between), ExpandBlocks(w, w_scales, between), groups).to(dtype);
}

// The blocks as rows [MB * 128, K].
inline Tensor ExpandColumns(const Tensor& values, const Tensor& scales, at::ScalarType dtype) {
  return values.to(at::kFloat).mul_(scales.unsqueeze(2)).to(dtype).transpose(1, 2).reshape({-1, values.size(1)});
}

inline Tensor Fp8WgradByExpansion(const Tensor& dy, const Tensor& dy_scales, const Tensor& x, const Tensor& x_scales, const OptionalTensor& offsets,
                                  int64_t num_rows, at::ScalarType dtype, at::ScalarType between) {
  const int64_t experts = offsets ? offsets->numel() - 1 : 1;
  if (num_rows == 0 || dy.size(1) == 0 || x.size(1) == 0) return at::zeros({experts, dy.size(1), x.size(1)}, x.options().dtype(dtype));
  Tensor limits = OneGroup(dy.size(0) * kFp8Block, dy);
  if (offsets) {  // every expert's rows rounded up to whole blocks
    const Tensor rows = offsets->slice(0, 1).sub(offsets->slice(0, 0, experts)).add(kFp8Block - 1).div(kFp8Block, "floor").mul(kFp8Block);
    limits = at::cat({at::zeros({1}, rows.options()), rows.cumsum(0)}).to(at::kInt);
  }
  return GroupedLinearWgradOp::CallBelowAutograd(ExpandColumns(dy, dy_scales, between), ExpandColumns(x, x_scales, between), limits).to(dtype);
}

}  // namespace fathom::ops
