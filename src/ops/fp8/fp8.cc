#include "ops/fp8/fp8.h"

#include "ops/cpu/dtype.h"
#include "ops/fp8/by_expansion.h"
#include "ops/library.h"
#include "ops/linear/linear_rows.h"

namespace fathom::ops {
namespace {

void CheckOffsets(const char* op, const std::optional<Tensor>& offsets, int64_t num_experts) {
  if (!offsets) {
    FATHOM_CHECK(num_experts <= 1, "{}: {} experts need offsets", op, num_experts);
    return;
  }
  FATHOM_CHECK(offsets->dim() == 1 && offsets->scalar_type() == at::kInt && offsets->numel() >= 1 && (num_experts < 0 || offsets->numel() == num_experts + 1),
               "{}: offsets must be [E + 1] int32, got {} values for E = {}", op, offsets->numel(), num_experts);
}

std::optional<Tensor> Packed(const std::optional<Tensor>& tensor) { return tensor ? std::optional<Tensor>(tensor->contiguous()) : std::nullopt; }

void CheckValues(const char* op, const char* name, const Tensor& values, int64_t dims) {
  FATHOM_CHECK(values.dim() == dims && values.scalar_type() == at::kFloat8_e4m3fn && values.is_contiguous(),
               "{}: the values of {} must be {} dims of float8_e4m3fn, contiguous, got {} dims of {}", op, name, dims, values.dim(),
               c10::toString(values.scalar_type()));
}

void CheckScales(const char* op, const char* name, const Tensor& scales, at::IntArrayRef sizes) {
  FATHOM_CHECK(scales.sizes() == sizes && scales.scalar_type() == at::kFloat && scales.is_contiguous(),
               "{}: the scales of {} must be {} float32 values, contiguous, got {} of {}", op, name, c10::multiply_integers(sizes), scales.numel(),
               c10::toString(scales.scalar_type()));
}

void CheckBlocks(const char* op, const Fp8Blocks& w) {
  CheckValues(op, "w", w.values, 3);
  CheckScales(op, "w", w.scales, {w.values.size(0), NumFp8Blocks(w.values.size(1)), NumFp8Blocks(w.values.size(2))});
}

void CheckOutput(const char* op, at::ScalarType dtype) {
  FATHOM_CHECK(dtype == at::kBFloat16 || dtype == at::kFloat, "{}: the output is bfloat16 or float32, not {}", op, c10::toString(dtype));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> Quantize(const Tensor& x_MK, const std::optional<Tensor>& offsets, bool rows, bool columns, bool power_of_two) {
  FATHOM_CHECK(x_MK.dim() == 2 && IsFloatDtype(x_MK.scalar_type()), "fp8_quantize: x must be [M, K] of a float dtype, got {} dims of {}", x_MK.dim(),
               c10::toString(x_MK.scalar_type()));
  CheckOffsets("fp8_quantize", offsets, -1);
  return Fp8QuantizeOp::Call(x_MK.stride(1) == 1 ? x_MK : x_MK.contiguous(), Packed(offsets), rows, columns, power_of_two);
}

}  // namespace

Fp8Rows fp8_quantize_rows(const Tensor& x_MK, bool power_of_two) {
  auto [values, scales, none, nothing] = Quantize(x_MK, std::nullopt, true, false, power_of_two);
  return {values, scales};
}

Fp8Columns fp8_quantize_columns(const Tensor& x_MK, const std::optional<Tensor>& offsets, bool power_of_two) {
  auto [none, nothing, values, scales] = Quantize(x_MK, offsets, false, true, power_of_two);
  return {values, scales};
}

std::pair<Fp8Rows, Fp8Columns> fp8_quantize_both(const Tensor& x_MK, const std::optional<Tensor>& offsets, bool power_of_two) {
  auto [row_values, row_scales, column_values, column_scales] = Quantize(x_MK, offsets, true, true, power_of_two);
  return {{row_values, row_scales}, {column_values, column_scales}};
}

Fp8WeightForms fp8_quantize_weight(const Tensor& w_ENK, bool power_of_two) {
  FATHOM_CHECK(w_ENK.dim() == 3 && IsFloatDtype(w_ENK.scalar_type()), "fp8_quantize_weight: w must be [E, N, K] of a float dtype, got {} dims of {}",
               w_ENK.dim(), c10::toString(w_ENK.scalar_type()));
  auto [values, scales, transposed, transposed_scales] = Fp8QuantizeWeightOp::Call(w_ENK.contiguous(), power_of_two);
  return {{values, scales}, {transposed, transposed_scales}};
}

Tensor fp8_linear(const Fp8Rows& x, const Fp8Blocks& w, const std::optional<Tensor>& offsets, at::ScalarType dtype) {
  CheckValues("fp8_linear", "x", x.values, 2);
  CheckScales("fp8_linear", "x", x.scales, {NumFp8Blocks(x.values.size(1)), x.values.size(0)});
  CheckBlocks("fp8_linear", w);
  FATHOM_CHECK(x.values.size(1) == w.values.size(2), "fp8_linear: x has {} columns, w {}", x.values.size(1), w.values.size(2));
  CheckOffsets("fp8_linear", offsets, w.values.size(0));
  CheckOutput("fp8_linear", dtype);
  return Fp8LinearOp::Call(x.values, x.scales, w.values, w.scales, Packed(offsets), dtype);
}

Tensor fp8_wgrad(const Fp8Columns& dy, const Fp8Columns& x, const std::optional<Tensor>& offsets, int64_t num_rows, at::ScalarType dtype) {
  CheckOffsets("fp8_wgrad", offsets, -1);
  const int64_t experts = offsets ? offsets->numel() - 1 : 1, blocks = offsets ? (num_rows + (kFp8Block - 1) * experts) / kFp8Block : NumFp8Blocks(num_rows);
  for (const Fp8Columns* form : {&dy, &x}) {
    const char* name = form == &dy ? "dy" : "x";
    CheckValues("fp8_wgrad", name, form->values, 3);
    FATHOM_CHECK(form->values.size(0) == blocks && form->values.size(2) == kFp8Block,
                 "fp8_wgrad: {} must be [{}, columns, {}] for {} rows and {} experts, got {} blocks", name, blocks, kFp8Block, num_rows, experts,
                 form->values.size(0));
    CheckScales("fp8_wgrad", name, form->scales, {blocks, form->values.size(1)});
  }
  CheckOutput("fp8_wgrad", dtype);
  return Fp8WgradOp::Call(dy.values, dy.scales, x.values, x.scales, Packed(offsets), num_rows, dtype);
}

Tensor fp8_linear_rows(const Tensor& x_MK, const Fp8Blocks& w, const std::optional<Tensor>& bias_N) {
  CheckBlocks("fp8_linear_rows", w);
  FATHOM_CHECK(x_MK.dim() == 2 && IsFloatDtype(x_MK.scalar_type()) && x_MK.size(0) <= kMaxLinearRows && w.values.size(0) == 1 &&
                   x_MK.size(1) == w.values.size(2),
               "fp8_linear_rows: x must be at most {} rows of {} values of a float dtype, and w one matrix", kMaxLinearRows, w.values.size(2));
  FATHOM_CHECK(!bias_N || (bias_N->dim() == 1 && bias_N->size(0) == w.values.size(1)), "fp8_linear_rows: bias must be [N] = [{}]", w.values.size(1));
  return Fp8LinearRowsOp::Call(x_MK.contiguous(), w.values, w.scales, bias_N ? std::optional<Tensor>(bias_N->to(x_MK.scalar_type()).contiguous()) : std::nullopt);
}

Tensor fp8_grouped_rows(const Tensor& x_MK, const Fp8Blocks& w, const Tensor& offsets) {
  CheckBlocks("fp8_grouped_rows", w);
  FATHOM_CHECK(x_MK.dim() == 2 && IsFloatDtype(x_MK.scalar_type()) && x_MK.size(1) == w.values.size(2),
               "fp8_grouped_rows: x must be [M, {}] of a float dtype", w.values.size(2));
  CheckOffsets("fp8_grouped_rows", offsets, w.values.size(0));
  return Fp8GroupedRowsOp::Call(x_MK.contiguous(), w.values, w.scales, offsets.contiguous());
}

Tensor fp8_expand(const Fp8Rows& x, at::ScalarType dtype) { return ExpandRows(x.values, x.scales, dtype); }
Tensor fp8_expand(const Fp8Blocks& w, at::ScalarType dtype) { return ExpandBlocks(w.values, w.scales, dtype); }

}  // namespace fathom::ops
