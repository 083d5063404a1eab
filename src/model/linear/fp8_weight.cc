#include "model/linear/fp8_weight.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "model/linear/dense_weight.h"
#include "ops/experts/experts.h"
#include "ops/linear/linear_rows.h"

namespace fathom {
namespace {

constexpr int64_t kRowsAtOnce = 512;
// Up to this many rows an expert on average the product is bound by the weights' bytes.
constexpr int64_t kFewRowsAnExpert = 16;

at::Tensor AddBias(at::Tensor y_MN, const std::optional<at::Tensor>& bias_N) {
  if (bias_N) y_MN.add_(*bias_N);
  return y_MN;
}

}  // namespace

Fp8BlockWeight::Fp8BlockWeight(int64_t out_features, int64_t in_features, const QuantizationConfig& quantization)
    : out_features_(out_features),
      in_features_(in_features),
      block_rows_(quantization.block_rows),
      block_cols_(quantization.block_cols),
      power_of_two_(quantization.scale_format == "ue8m0") {}

void Fp8BlockWeight::Use(const at::Tensor& values_NK, const at::Tensor& scales) {
  values_ = values_NK;
  scales_ = scales;
  in_place_ = true;
}

void Fp8BlockWeight::Set(const at::Tensor& values_NK, const at::Tensor& scales) {
  FATHOM_USER_CHECK(values_NK.dim() == 2 && values_NK.size(0) == out_features_ && values_NK.size(1) == in_features_ &&
                        values_NK.scalar_type() == at::kFloat8_e4m3fn,
                    "an FP8 weight must be {} x {} values of float8_e4m3fn, got {} dims of {}", out_features_, in_features_, values_NK.dim(),
                    c10::toString(values_NK.scalar_type()));
  const int64_t NB = (out_features_ + block_rows_ - 1) / block_rows_, KB = (in_features_ + block_cols_ - 1) / block_cols_;
  FATHOM_USER_CHECK(scales.dim() == 2 && scales.size(0) == NB && scales.size(1) == KB && scales.scalar_type() == at::kFloat,
                    "an FP8 weight of {} x {} values needs {} x {} float32 scales (blocks of {} x {}), got {} x {} of {}", out_features_, in_features_,
                    NB, KB, block_rows_, block_cols_, scales.dim() == 2 ? scales.size(0) : 0, scales.dim() == 2 ? scales.size(1) : 0,
                    c10::toString(scales.scalar_type()));
  if (in_place_) {
    values_.copy_(values_NK);
    scales_.copy_(scales);
  } else {
    values_ = values_NK;
    scales_ = scales;
  }
}

bool Fp8BlockWeight::HasKernels(int64_t r0) const {
  return values_.is_cuda() && block_rows_ == ops::kFp8Block && block_cols_ == ops::kFp8Block && r0 % ops::kFp8Block == 0 && values_.is_contiguous() &&
         scales_.is_contiguous();
}

const DenseWeight& Fp8BlockWeight::Expanded(at::ScalarType dtype) const {
  const std::lock_guard lock(mutex_);
  if (expanded_ == nullptr) expanded_ = std::make_shared<DenseWeight>(Expand(0, out_features_, dtype));
  return *expanded_;
}

at::Tensor Fp8BlockWeight::ForwardHeads(const at::Tensor& x_MHK, int64_t stride, int64_t r0, int64_t r1) const {
  if (values_.is_cuda()) return Expanded(x_MHK.scalar_type()).ForwardHeads(x_MHK, stride, r0, r1);
  return LinearWeight::ForwardHeads(x_MHK, stride, r0, r1);
}

at::Tensor Fp8BlockWeight::TransposedHeads(const at::Tensor& y_MHR, int64_t stride, int64_t r0, int64_t r1) const {
  if (values_.is_cuda()) return Expanded(y_MHR.scalar_type()).TransposedHeads(y_MHR, stride, r0, r1);
  return LinearWeight::TransposedHeads(y_MHR, stride, r0, r1);
}

int64_t Fp8BlockWeight::num_bytes() const { return values_.defined() ? static_cast<int64_t>(values_.nbytes() + scales_.nbytes()) : 0; }

at::Tensor Fp8BlockWeight::Expand(int64_t r0, int64_t r1, at::ScalarType dtype) const {
  const int64_t b0 = r0 / block_rows_, b1 = (r1 + block_rows_ - 1) / block_rows_;
  const at::Tensor rows = at::repeat_interleave(scales_.narrow(0, b0, b1 - b0), block_rows_, 0).narrow(0, r0 - b0 * block_rows_, r1 - r0);
  const at::Tensor scale_RK = at::repeat_interleave(rows, block_cols_, 1).narrow(1, 0, values_.size(1));
  return values_.narrow(0, r0, r1 - r0).to(at::kFloat).mul_(scale_RK).to(dtype);
}

at::Tensor Fp8BlockWeight::Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const {
  return AddBias(ForwardRows(x_MK, 0, out_features()), bias_N);
}

at::Tensor Fp8BlockWeight::InputGradient(const at::Tensor& dy_MN) const { return TransposedRows(dy_MN, 0, out_features()); }

at::Tensor Fp8BlockWeight::ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const {
  if (HasKernels(r0)) {
    const int64_t b0 = r0 / block_rows_, b1 = (r1 + block_rows_ - 1) / block_rows_;
    const ops::Fp8Blocks rows{values_.narrow(0, r0, r1 - r0).unsqueeze(0), scales_.narrow(0, b0, b1 - b0).unsqueeze(0)};
    if (x_MK.size(0) <= ops::kMaxLinearRows) return ops::fp8_linear_rows(x_MK, rows, std::nullopt);
    const at::ScalarType dtype = x_MK.scalar_type() == at::kFloat ? at::kFloat : at::kBFloat16;
    return ops::fp8_linear(ops::fp8_quantize_rows(x_MK, power_of_two_), rows, std::nullopt, dtype).to(x_MK.scalar_type());
  }
  at::Tensor y_MR = at::empty({x_MK.size(0), r1 - r0}, x_MK.options());
  for (int64_t r = r0; r < r1; r += kRowsAtOnce) {
    const int64_t end = std::min(r + kRowsAtOnce, r1);
    y_MR.narrow(1, r - r0, end - r).copy_(DenseProduct(x_MK, Expand(r, end, x_MK.scalar_type()), std::nullopt));
  }
  return y_MR;
}

at::Tensor Fp8BlockWeight::TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const {
  at::Tensor x_MK = at::zeros({y_MR.size(0), in_features()}, y_MR.options().dtype(at::kFloat));
  for (int64_t r = r0; r < r1; r += kRowsAtOnce) {
    const int64_t end = std::min(r + kRowsAtOnce, r1);
    x_MK.add_(at::matmul(y_MR.narrow(1, r - r0, end - r), Expand(r, end, y_MR.scalar_type())));
  }
  return x_MK.to(y_MR.scalar_type());
}

template <typename Visit>
void StackedWeight::ForOverlaps(int64_t r0, int64_t r1, Visit visit) const {
  int64_t first = 0;
  for (const auto& part : parts_) {
    const int64_t low = std::max(r0, first), high = std::min(r1, first + part->out_features());
    if (low < high) visit(*part, low - first, high - first, low - r0);
    first += part->out_features();
  }
}

int64_t StackedWeight::out_features() const {
  int64_t rows = 0;
  for (const auto& part : parts_) rows += part->out_features();
  return rows;
}

int64_t StackedWeight::num_bytes() const {
  int64_t bytes = 0;
  for (const auto& part : parts_) bytes += part->num_bytes();
  return bytes;
}

at::Tensor StackedWeight::Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const {
  return AddBias(ForwardRows(x_MK, 0, out_features()), bias_N);
}

at::Tensor StackedWeight::InputGradient(const at::Tensor& dy_MN) const { return TransposedRows(dy_MN, 0, out_features()); }

at::Tensor StackedWeight::ForwardRows(const at::Tensor& x_MK, int64_t r0, int64_t r1) const {
  std::vector<at::Tensor> pieces;
  ForOverlaps(r0, r1, [&](const LinearWeight& part, int64_t low, int64_t high, int64_t) { pieces.push_back(part.ForwardRows(x_MK, low, high)); });
  return at::cat(pieces, 1);
}

at::Tensor StackedWeight::TransposedRows(const at::Tensor& y_MR, int64_t r0, int64_t r1) const {
  at::Tensor sum = at::zeros({y_MR.size(0), in_features()}, y_MR.options());
  ForOverlaps(r0, r1, [&](const LinearWeight& part, int64_t low, int64_t high, int64_t offset) {
    sum.add_(part.TransposedRows(y_MR.narrow(1, offset, high - low), low, high));
  });
  return sum;
}

at::Tensor Fp8GroupedWeight::Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const {
  if (x_MK.size(0) <= kFewRowsAnExpert * w_.values.size(0)) return ops::fp8_grouped_rows(x_MK, w_, offsets);
  const at::ScalarType dtype = x_MK.scalar_type() == at::kFloat ? at::kFloat : at::kBFloat16;
  return ops::fp8_linear(ops::fp8_quantize_rows(x_MK, power_of_two_), w_, offsets, dtype).to(x_MK.scalar_type());
}

at::Tensor Fp8GroupedWeight::InputGradient(const at::Tensor& dy_MN, const at::Tensor& offsets) const {
  return ops::grouped_linear_dgrad(dy_MN, ops::fp8_expand(w_, dy_MN.scalar_type()), offsets);
}

at::Tensor SeparateGroupedWeight::Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const {
  at::Tensor y_MN = at::empty({x_MK.size(0), experts_.front()->out_features()}, x_MK.options());
  const int32_t* limits = offsets.const_data_ptr<int32_t>();
  for (size_t e = 0; e < experts_.size(); ++e) {
    const int64_t num_rows = limits[e + 1] - limits[e];
    if (num_rows > 0) y_MN.narrow(0, limits[e], num_rows).copy_(experts_[e]->Forward(x_MK.narrow(0, limits[e], num_rows)));
  }
  return y_MN;
}

at::Tensor SeparateGroupedWeight::InputGradient(const at::Tensor& dy_MN, const at::Tensor& offsets) const {
  at::Tensor dx_MK = at::empty({dy_MN.size(0), experts_.front()->in_features()}, dy_MN.options());
  const int32_t* limits = offsets.const_data_ptr<int32_t>();
  for (size_t e = 0; e < experts_.size(); ++e) {
    const int64_t num_rows = limits[e + 1] - limits[e];
    if (num_rows > 0) dx_MK.narrow(0, limits[e], num_rows).copy_(experts_[e]->InputGradient(dy_MN.narrow(0, limits[e], num_rows)));
  }
  return dx_MK;
}

int64_t SeparateGroupedWeight::num_bytes() const {
  int64_t bytes = 0;
  for (const auto& expert : experts_) bytes += expert->num_bytes();
  return bytes;
}

}  // namespace fathom
