#include "model/linear/fp8_trained_weight.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <optional>

namespace fathom {
namespace {

// What is kept of an operand, in this order; a form that is not needed is undefined. kLike is [M, 0] of the operand's dtype.
enum Kept { kRowValues, kRowScales, kColumnValues, kColumnScales, kLike };

KeptOperand Keep(const at::Tensor& x_MK, const std::optional<at::Tensor>& offsets, bool rows, bool columns) {
  KeptOperand kept;
  const at::NoGradGuard no_grad;
  if (rows && columns) {
    auto [by_row, by_column] = ops::fp8_quantize_both(x_MK, offsets);
    kept = {by_row.values, by_row.scales, by_column.values, by_column.scales};
  } else if (rows) {
    const ops::Fp8Rows by_row = ops::fp8_quantize_rows(x_MK);
    kept = {by_row.values, by_row.scales, {}, {}};
  } else {
    const ops::Fp8Columns by_column = ops::fp8_quantize_columns(x_MK, offsets);
    kept = {{}, {}, by_column.values, by_column.scales};
  }
  kept.push_back(at::empty({x_MK.size(0), 0}, x_MK.options()));
  return kept;
}

ops::Fp8Rows RowsOf(const KeptOperand& kept) { return {kept[kRowValues], kept[kRowScales]}; }
ops::Fp8Columns ColumnsOf(const KeptOperand& kept) { return {kept[kColumnValues], kept[kColumnScales]}; }

at::Tensor Product(const KeptOperand& x, const ops::Fp8Blocks& w, const std::optional<at::Tensor>& offsets) {
  const at::NoGradGuard no_grad;
  const at::ScalarType dtype = x[kLike].scalar_type();
  return ops::fp8_linear(RowsOf(x), w, offsets, dtype == at::kBFloat16 ? dtype : at::kFloat).to(dtype);
}

at::Tensor WeightGradientOf(const KeptOperand& dy, const KeptOperand& x, const std::optional<at::Tensor>& offsets, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  return ops::fp8_wgrad(ColumnsOf(dy), ColumnsOf(x), offsets, dy[kLike].size(0), dtype == at::kBFloat16 ? dtype : at::kFloat).to(dtype);
}

// The forward's rows are not needed again.
KeptOperand ForWeightGradient(KeptOperand kept) {
  kept[kRowValues] = kept[kRowScales] = at::Tensor();
  return kept;
}

at::Tensor WithBias(at::Tensor y_MN, const std::optional<at::Tensor>& bias_N) {
  if (bias_N) y_MN.add_(bias_N->detach());
  return y_MN;
}

}  // namespace

ops::Fp8WeightForms Fp8Forms::Get() const {
  const std::lock_guard lock(mutex_);
  const int64_t version = leaf_._version();
  if (version != version_) {
    const at::NoGradGuard no_grad;
    forms_ = {};  // the old forms' memory is free before the new ones'
    forms_ = ops::fp8_quantize_weight(leaf_);
    version_ = version;
  }
  return forms_;
}

at::Tensor Fp8TrainedWeight::Forward(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N) const {
  return WithBias(Product(Keep(x_MK, std::nullopt, true, false), forms_.Get().plain, std::nullopt), bias_N);
}

at::Tensor Fp8TrainedWeight::ForwardKeeping(const at::Tensor& x_MK, const std::optional<at::Tensor>& bias_N, KeptOperand& x_kept) const {
  KeptOperand x = Keep(x_MK, std::nullopt, true, true);
  at::Tensor y_MN = WithBias(Product(x, forms_.Get().plain, std::nullopt), bias_N);
  x_kept = ForWeightGradient(std::move(x));
  return y_MN;
}

KeptOperand Fp8TrainedWeight::KeepInput(const at::Tensor& x_MK) const { return Keep(x_MK, std::nullopt, false, true); }

KeptOperand Fp8TrainedWeight::KeepGradient(const at::Tensor& dy_MN, bool for_input, bool for_weight) const {
  if (!for_input && !for_weight) return {};
  return Keep(dy_MN, std::nullopt, for_input, for_weight);
}

at::Tensor Fp8TrainedWeight::KeptInputGradient(const KeptOperand& dy) const { return Product(dy, forms_.Get().transposed, std::nullopt); }

at::Tensor Fp8TrainedWeight::KeptWeightGradient(const KeptOperand& dy, const KeptOperand& x) const {
  return WeightGradientOf(dy, x, std::nullopt, trainable().scalar_type()).squeeze(0);
}

at::Tensor Fp8TrainedGroupedWeight::Forward(const at::Tensor& x_MK, const at::Tensor& offsets) const {
  return Product(Keep(x_MK, offsets, true, false), forms_.Get().plain, offsets);
}

at::Tensor Fp8TrainedGroupedWeight::ForwardKeeping(const at::Tensor& x_MK, const at::Tensor& offsets, KeptOperand& x_kept) const {
  KeptOperand x = Keep(x_MK, offsets, true, true);
  const at::Tensor y_MN = Product(x, forms_.Get().plain, offsets);
  x_kept = ForWeightGradient(std::move(x));
  return y_MN;
}

KeptOperand Fp8TrainedGroupedWeight::KeepInput(const at::Tensor& x_MK, const at::Tensor& offsets) const { return Keep(x_MK, offsets, false, true); }

KeptOperand Fp8TrainedGroupedWeight::KeepGradient(const at::Tensor& dy_MN, const at::Tensor& offsets, bool for_input, bool for_weight) const {
  if (!for_input && !for_weight) return {};
  return Keep(dy_MN, offsets, for_input, for_weight);
}

at::Tensor Fp8TrainedGroupedWeight::KeptInputGradient(const KeptOperand& dy, const at::Tensor& offsets) const {
  return Product(dy, forms_.Get().transposed, offsets);
}

at::Tensor Fp8TrainedGroupedWeight::KeptWeightGradient(const KeptOperand& dy, const KeptOperand& x, const at::Tensor& offsets) const {
  return WeightGradientOf(dy, x, offsets, leaf_.scalar_type());
}

}  // namespace fathom
