#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/dtype.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/parallel_rows.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kNormGrainValues = 16384;

int64_t RowGrain(int64_t row_values) { return std::max<int64_t>(1, kNormGrainValues / std::max<int64_t>(1, row_values)); }

template <typename T>
float InverseRms(const T* x, int64_t D, float eps) {
  float sum = 0;
  for (int64_t d = 0; d < D; ++d) sum += static_cast<float>(x[d]) * static_cast<float>(x[d]);
  return 1.0f / std::sqrt(sum / static_cast<float>(D) + eps);
}

NormArgs MakeArgs(const Tensor& x, const Tensor& w, Tensor& y, double eps) {
  return {.x = x.const_data_ptr(), .residual = nullptr, .w = w.const_data_ptr(), .y = y.mutable_data_ptr(), .sum = nullptr, .D = x.size(1),
          .x_stride = x.stride(0), .residual_stride = 0, .eps = static_cast<float>(eps)};
}

void RunRows(const NormArgs& args, int64_t T, at::ScalarType dtype) {
  const auto kernel = Kernels().rms_norm[KernelDtypeOf(dtype)];
  ParallelRows(T, RowGrain(args.D), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

Tensor RmsNormCpu(const Tensor& x, const Tensor& w, double eps) {
  Tensor y = at::empty({x.size(0), x.size(1)}, x.options());
  const Tensor weight = w.contiguous();
  RunRows(MakeArgs(x, weight, y, eps), x.size(0), x.scalar_type());
  return y;
}

std::tuple<Tensor, Tensor> AddRmsNormCpu(const Tensor& x, const Tensor& residual, const Tensor& w, double eps) {
  Tensor y = at::empty({x.size(0), x.size(1)}, x.options()), sum = at::empty({x.size(0), x.size(1)}, x.options());
  const Tensor weight = w.contiguous();
  NormArgs args = MakeArgs(x, weight, y, eps);
  args.residual = residual.const_data_ptr();
  args.residual_stride = residual.stride(0);
  args.sum = sum.mutable_data_ptr();
  RunRows(args, x.size(0), x.scalar_type());
  return {y, sum};
}

// With n = x r, r = 1 / sqrt(mean x^2 + eps), g = dy w:  dx = r (g - n mean(g n)),  dw = sum_t dy n.
// dw is summed in blocks of rows whose limits do not depend on the number of threads.
std::tuple<Tensor, Tensor> RmsNormBackwardCpu(const Tensor& dy, const Tensor& x, const Tensor& w, double eps, const OptionalTensor& added) {
  constexpr int64_t kBlockRows = 64;
  const int64_t T = x.size(0), D = x.size(1), num_blocks = (T + kBlockRows - 1) / kBlockRows;
  Tensor dx = at::empty({T, D}, x.options()), dw = at::empty({D}, w.options());
  const Tensor weight = w.contiguous(), grad = dy.contiguous();
  std::vector<float> partial(num_blocks * D);
  DispatchFloat(x.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V *xp = x.const_data_ptr<V>(), *wp = weight.const_data_ptr<V>(), *gp = grad.const_data_ptr<V>();
    V* dxp = dx.mutable_data_ptr<V>();
    const int64_t stride = x.stride(0);
    at::parallel_for(0, num_blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        float* dw_row = partial.data() + block * D;
        for (int64_t t = block * kBlockRows; t < std::min(T, (block + 1) * kBlockRows); ++t) {
          const V *x_row = xp + t * stride, *g_row = gp + t * D;
          const float r = InverseRms(x_row, D, static_cast<float>(eps));
          float mean = 0;
          for (int64_t d = 0; d < D; ++d) {
            mean += static_cast<float>(g_row[d]) * static_cast<float>(wp[d]) * static_cast<float>(x_row[d]) * r;
          }
          mean /= static_cast<float>(D);
          for (int64_t d = 0; d < D; ++d) {
            const float n = static_cast<float>(x_row[d]) * r, g = static_cast<float>(g_row[d]);
            dxp[t * D + d] = static_cast<V>(r * (g * static_cast<float>(wp[d]) - n * mean));
            dw_row[d] += g * static_cast<float>(static_cast<V>(n));
          }
        }
      }
    });
    for (int64_t d = 0; d < D; ++d) {
      float sum = 0;
      for (int64_t block = 0; block < num_blocks; ++block) sum += partial[block * D + d];
      dw.mutable_data_ptr<V>()[d] = static_cast<V>(sum);
    }
  });
  if (added) dx.add_(*added);
  return {dx, dw};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("rms_norm", TORCH_FN(RmsNormCpu));
  m.impl("add_rms_norm", TORCH_FN(AddRmsNormCpu));
  m.impl("rms_norm_backward", TORCH_FN(RmsNormBackwardCpu));
}

}  // namespace fathom::ops
