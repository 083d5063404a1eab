#include "ops/fp8/fp8.h"

#include <ATen/ops/_scaled_mm.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "cuda/fp8/product_kernel.h"
#include "cuda/fp8/quantize_kernel.h"
#include "cuda/fp8/rows_kernel.h"
#include "cuda/launch.h"
#include "ops/fp8/by_expansion.h"

namespace fathom::cuda {
namespace {

using at::Tensor;
using ops::OptionalTensor;

const int32_t* OffsetsOf(const OptionalTensor& offsets) { return offsets ? offsets->const_data_ptr<int32_t>() : nullptr; }
std::tuple<Tensor, Tensor, Tensor, Tensor> Quantize(const Tensor& x, const OptionalTensor& offsets, bool rows, bool columns, bool power_of_two) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t M = x.size(0), K = x.size(1), experts = offsets ? offsets->numel() - 1 : 1;
  const int64_t MB = offsets && columns ? (M + (ops::kFp8Block - 1) * experts) / ops::kFp8Block : ops::NumFp8Blocks(M);
  const auto options = x.options();
  const auto make = [&](bool wanted, std::vector<int64_t> sizes, at::ScalarType dtype) {
    return at::empty(wanted ? sizes : std::vector<int64_t>{0}, options.dtype(dtype));
  };
  Tensor row_values = make(rows, {M, K}, at::kFloat8_e4m3fn), row_scales = make(rows, {ops::NumFp8Blocks(K), M}, at::kFloat);
  Tensor column_values = make(columns, {MB, K, ops::kFp8Block}, at::kFloat8_e4m3fn), column_scales = make(columns, {MB, K}, at::kFloat);
  if (M > 0 && K > 0) {
    Fp8QuantizeParams params;
    params.x = x.const_data_ptr();
    params.x_stride = x.stride(0);
    params.rows = static_cast<int>(M);
    params.k = static_cast<int>(K);
    params.blocks = static_cast<int>(MB);
    params.power_of_two = power_of_two;
    params.dtype = DtypeOf(x);
    if (rows) {
      params.row_values = row_values.mutable_data_ptr();
      params.row_scales = row_scales.mutable_data_ptr<float>();
    }
    if (columns) {
      params.column_values = column_values.mutable_data_ptr();
      params.column_scales = column_scales.mutable_data_ptr<float>();
      params.offsets = OffsetsOf(offsets);
      params.groups = static_cast<int>(experts);
    }
    LaunchFp8Quantize(params, CurrentStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return {row_values, row_scales, column_values, column_scales};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> QuantizeWeight(const Tensor& w, bool power_of_two) {
  const c10::cuda::CUDAGuard guard(w.device());
  const int64_t E = w.size(0), N = w.size(1), K = w.size(2);
  const auto options = w.options();
  Tensor values = at::empty({E, N, K}, options.dtype(at::kFloat8_e4m3fn)), scales = at::empty({E, ops::NumFp8Blocks(N), ops::NumFp8Blocks(K)}, options.dtype(at::kFloat));
  Tensor transposed = at::empty({E, K, N}, values.options()), transposed_scales = at::empty({E, ops::NumFp8Blocks(K), ops::NumFp8Blocks(N)}, scales.options());
  if (w.numel() > 0) {
    Fp8QuantizeWeightParams params;
    params.w = w.const_data_ptr();
    params.values = values.mutable_data_ptr();
    params.scales = scales.mutable_data_ptr<float>();
    params.transposed = transposed.mutable_data_ptr();
    params.transposed_scales = transposed_scales.mutable_data_ptr<float>();
    params.experts = static_cast<int>(E);
    params.n = static_cast<int>(N);
    params.k = static_cast<int>(K);
    params.power_of_two = power_of_two;
    params.dtype = DtypeOf(w);
    LaunchFp8QuantizeWeight(params, CurrentStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return {values, scales, transposed, transposed_scales};
}

Fp8Output OutputOf(at::ScalarType dtype) { return dtype == at::kFloat ? Fp8Output::kF32 : Fp8Output::kBf16; }
// The columns of an output that the product kernel can store.
bool CanStore(int64_t columns, at::ScalarType dtype) { return columns % (dtype == at::kFloat ? 2 : 8) == 0; }

// One large matrix: cuBLASLt's kernel is faster there than the one that serves experts too. It reads the rows of a weight's scales at multiples of four
// of them, so that K must have a multiple of four blocks.
bool LibraryIsFaster(int64_t M, int64_t N, int64_t K, at::ScalarType dtype) {
  return dtype == at::kBFloat16 && M >= 1024 && M % ops::kFp8Block == 0 && N % ops::kFp8Block == 0 && K % (4 * ops::kFp8Block) == 0;
}

Tensor Linear(const Tensor& x, const Tensor& x_scales, const Tensor& w, const Tensor& w_scales, const OptionalTensor& offsets, at::ScalarType dtype) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t M = x.size(0), K = x.size(1), E = w.size(0), N = w.size(1);
  if (ComputeMajor() == 9 && !offsets && E == 1 && LibraryIsFaster(M, N, K, dtype)) {
    return at::_scaled_mm(x, w[0].t(), x_scales.t(), w_scales[0].t(), {}, {}, dtype);
  }
  if (ComputeMajor() == 9 && M > 0 && N > 0 && K > 0 && K % 16 == 0 && CanStore(N, dtype) && IsAligned16(x) && IsAligned16(w)) {
    Tensor y = at::empty({M, N}, x.options().dtype(dtype));
    Fp8LinearParams params;
    params.a = x.const_data_ptr();
    params.a_scale = x_scales.const_data_ptr<float>();
    params.w = w.const_data_ptr();
    params.w_scale = w_scales.const_data_ptr<float>();
    params.out = y.mutable_data_ptr();
    params.offsets = OffsetsOf(offsets);
    params.rows = static_cast<int>(M);
    params.columns = static_cast<int>(N);
    params.depth = static_cast<int>(K);
    params.groups = static_cast<int>(E);
    params.output = OutputOf(dtype);
    params.num_processors = NumProcessors();
    params.tile_rows = ChooseFp8TileRows(M, E, N, params.num_processors);
    if (LaunchFp8Linear(params, CurrentStream())) {
      C10_CUDA_KERNEL_LAUNCH_CHECK();
      return y;
    }
  }
  return ops::Fp8LinearByExpansion(x, x_scales, w, w_scales, offsets, dtype, at::kBFloat16);
}

Tensor Wgrad(const Tensor& dy, const Tensor& dy_scales, const Tensor& x, const Tensor& x_scales, const OptionalTensor& offsets, int64_t num_rows,
             at::ScalarType dtype) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t N = dy.size(1), K = x.size(1), E = offsets ? offsets->numel() - 1 : 1;
  if (ComputeMajor() == 9 && num_rows > 0 && N > 0 && K > 0 && CanStore(K, dtype) && IsAligned16(dy) && IsAligned16(x)) {
    Tensor dw = at::empty({E, N, K}, x.options().dtype(dtype));
    Fp8WgradParams params;
    params.a = dy.const_data_ptr();
    params.a_scale = dy_scales.const_data_ptr<float>();
    params.x = x.const_data_ptr();
    params.x_scale = x_scales.const_data_ptr<float>();
    params.out = dw.mutable_data_ptr();
    params.offsets = OffsetsOf(offsets);
    params.rows = static_cast<int>(num_rows);
    params.blocks = static_cast<int>(dy.size(0));
    params.n = static_cast<int>(N);
    params.k = static_cast<int>(K);
    params.groups = static_cast<int>(E);
    params.output = OutputOf(dtype);
    params.num_processors = NumProcessors();
    if (LaunchFp8Wgrad(params, CurrentStream())) {
      C10_CUDA_KERNEL_LAUNCH_CHECK();
      return dw;
    }
  }
  return ops::Fp8WgradByExpansion(dy, dy_scales, x, x_scales, offsets, num_rows, dtype, at::kBFloat16);
}

Tensor Rows(const Tensor& x, const Tensor& w, const Tensor& w_scales, const OptionalTensor& bias, const OptionalTensor& offsets) {
  const c10::cuda::CUDAGuard guard(x.device());
  Tensor y = at::empty({x.size(0), w.size(1)}, x.options());
  if (y.numel() == 0) return y;
  Fp8RowsParams params;
  params.x = x.const_data_ptr();
  params.w = w.const_data_ptr();
  params.scales = w_scales.const_data_ptr<float>();
  params.bias = bias ? bias->const_data_ptr() : nullptr;
  params.y = y.mutable_data_ptr();
  params.offsets = OffsetsOf(offsets);
  params.rows = static_cast<int>(x.size(0));
  params.n = static_cast<int>(w.size(1));
  params.k = static_cast<int>(w.size(2));
  params.experts = static_cast<int>(w.size(0));
  params.early_blocks = offsets ? 0 : 2 * NumProcessors();
  params.dtype = DtypeOf(x);
  LaunchFp8Rows(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

Tensor Fp8LinearRows(const Tensor& x, const Tensor& w, const Tensor& w_scales, const OptionalTensor& bias) { return Rows(x, w, w_scales, bias, std::nullopt); }
Tensor GroupedRows(const Tensor& x, const Tensor& w, const Tensor& w_scales, const Tensor& offsets) { return Rows(x, w, w_scales, std::nullopt, offsets); }

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("fp8_quantize", TORCH_FN(Quantize));
  m.impl("fp8_quantize_weight", TORCH_FN(QuantizeWeight));
  m.impl("fp8_linear", TORCH_FN(Linear));
  m.impl("fp8_wgrad", TORCH_FN(Wgrad));
  m.impl("fp8_linear_rows", TORCH_FN(Fp8LinearRows));
  m.impl("fp8_grouped_rows", TORCH_FN(GroupedRows));
}

}  // namespace fathom::cuda
