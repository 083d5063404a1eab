#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/parallel_rows.h"
#include "ops/ggml_linear/ggml_linear.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kGgmlTileRows = 4;         // rows of the weight that a kernel takes at once
constexpr int64_t kGgmlGrainValues = 131072;  // weights that are worth a thread: about 5 us

GgmlFormat TableIndexOf(int64_t format) {
  if (format == static_cast<int64_t>(BlockFormat::kQ4_0)) return kGgmlQ4_0;
  return format == static_cast<int64_t>(BlockFormat::kQ4_1) ? kGgmlQ4_1 : kGgmlQ8_0;
}

Tensor GgmlLinearRowsCpu(const Tensor& x, const Tensor& blocks, int64_t format) {
  const int64_t M = x.size(0), N = blocks.size(0), K = x.size(1);
  Tensor y = at::empty({M, N}, x.options());
  if (M == 0 || N == 0) return y;
  const KernelTable& kernels = Kernels();
  const GgmlFormat index = TableIndexOf(format);
  const bool is_float = x.scalar_type() == at::kFloat, dots = !is_float && kernels.ggml_rows_bf16[index] != nullptr;
  const auto kernel = dots ? kernels.ggml_rows_bf16[index] : is_float ? kernels.ggml_rows_f32[index] : kernels.ggml_rows_rounded[index];
  const Tensor input = dots || is_float ? x : x.to(at::kFloat);
  Tensor sums;
  if (dots && index == kGgmlQ4_1) {
    sums = at::empty({K / kBlockValues, kGgmlSumStride}, at::TensorOptions(at::kFloat));
    kernels.ggml_block_sums(x.const_data_ptr(), M, K, sums.mutable_data_ptr<float>());
  }
  const GgmlRowsArgs args{.x = input.const_data_ptr(), .sums = sums.defined() ? sums.const_data_ptr<float>() : nullptr,
                          .blocks = blocks.const_data_ptr<uint8_t>(), .y = y.mutable_data_ptr(), .M = M, .N = N, .K = K};
  const int64_t tiles = (N + kGgmlTileRows - 1) / kGgmlTileRows, grain = std::max<int64_t>(1, kGgmlGrainValues / std::max<int64_t>(1, K * kGgmlTileRows));
  ParallelRows(tiles, grain, [&](int64_t begin, int64_t end) { kernel(args, begin * kGgmlTileRows, std::min(N, end * kGgmlTileRows)); });
  return y;
}

Tensor GgmlExpandCpu(const Tensor& blocks, int64_t format) {
  const int64_t N = blocks.size(0), block_bytes = BlockBytes(static_cast<BlockFormat>(format)), row_blocks = blocks.size(1) / block_bytes;
  Tensor out = at::empty({N, row_blocks * kBlockValues}, blocks.options().dtype(at::kBFloat16));
  const auto kernel = Kernels().ggml_expand[TableIndexOf(format)];
  const auto* in = blocks.const_data_ptr<uint8_t>();
  auto* values = static_cast<uint16_t*>(out.mutable_data_ptr());
  ParallelRows(N * row_blocks, kGgmlGrainValues / kBlockValues, [&](int64_t begin, int64_t end) {
    kernel(in + begin * block_bytes, end - begin, values + begin * kBlockValues);
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("ggml_linear_rows", TORCH_FN(GgmlLinearRowsCpu));
  m.impl("ggml_expand", TORCH_FN(GgmlExpandCpu));
}
TORCH_LIBRARY_IMPL(fathom, Autograd, m) {
  m.impl("ggml_linear_rows", TORCH_FN(GgmlLinearRowsOp::NotDifferentiable));
  m.impl("ggml_expand", TORCH_FN(GgmlExpandOp::NotDifferentiable));
}

}  // namespace fathom::ops
