#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/cpu/dtype.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/parallel_rows.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kTileRows = 4;        // rows of the weight that a kernel takes at once
constexpr int64_t kLinearGrainValues = 65536;  // weights that are worth a thread: about 5 us of memory

Tensor LinearRowsCpu(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  const int64_t M = x.size(0), N = w.size(0), K = x.size(1);
  Tensor y = at::empty({M, N}, x.options());
  if (M == 0 || N == 0) return y;
  const KernelTable& kernels = Kernels();
  const KernelDtype x_dtype = KernelDtypeOf(x.scalar_type()), w_dtype = KernelDtypeOf(w.scalar_type());
  const bool dots = x_dtype == kKernelBf16 && kernels.linear_rows_bf16 != nullptr;
  const auto kernel = dots                     ? kernels.linear_rows_bf16
                      : x_dtype == kKernelF32 ? kernels.linear_rows_f32[w_dtype]
                                              : kernels.linear_rows_rounded[w_dtype];
  const Tensor input = dots || x_dtype == kKernelF32 ? x : x.to(at::kFloat);
  const LinearRowsArgs args{.x = input.const_data_ptr(), .w = w.const_data_ptr(), .bias = bias ? bias->const_data_ptr() : nullptr,
                            .y = y.mutable_data_ptr(), .M = M, .N = N, .K = K};
  const int64_t tiles = (N + kTileRows - 1) / kTileRows, grain = std::max<int64_t>(1, kLinearGrainValues / std::max<int64_t>(1, K * kTileRows));
  ParallelRows(tiles, grain, [&](int64_t begin, int64_t end) { kernel(args, begin * kTileRows, std::min(N, end * kTileRows)); });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("linear_rows", TORCH_FN(LinearRowsCpu)); }
TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("linear_rows", TORCH_FN(LinearRowsOp::NotDifferentiable)); }

}  // namespace fathom::ops
