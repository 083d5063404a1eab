#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <cmath>
#include <vector>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kGrainValues = 16384;

int64_t RowGrain(int64_t row_values) { return std::max<int64_t>(1, kGrainValues / std::max<int64_t>(1, row_values)); }

template <typename T>
float InverseRms(const T* x, int64_t D, float eps) {
  float sum = 0;
  for (int64_t d = 0; d < D; ++d) sum += static_cast<float>(x[d]) * static_cast<float>(x[d]);
  return 1.0f / std::sqrt(sum / static_cast<float>(D) + eps);
}

template <typename T>
void NormRow(const T* x, const T* w, T* y, int64_t D, float eps) {
  const float inverse = InverseRms(x, D, eps);
  for (int64_t d = 0; d < D; ++d) {
    const T normalised = static_cast<T>(static_cast<float>(x[d]) * inverse);
    y[d] = static_cast<T>(static_cast<float>(w[d]) * static_cast<float>(normalised));
  }
}

Tensor RmsNormCpu(const Tensor& x, const Tensor& w, double eps) {
  const int64_t T = x.size(0), D = x.size(1);
  Tensor y = at::empty({T, D}, x.options());
  const Tensor weight = w.contiguous();
  DispatchFloat(x.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V *xp = x.const_data_ptr<V>(), *wp = weight.const_data_ptr<V>();
    V* yp = y.mutable_data_ptr<V>();
    const int64_t stride = x.stride(0);
    at::parallel_for(0, T, RowGrain(D), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) NormRow(xp + t * stride, wp, yp + t * D, D, static_cast<float>(eps));
    });
  });
  return y;
}

std::tuple<Tensor, Tensor> AddRmsNormCpu(const Tensor& x, const Tensor& residual, const Tensor& w, double eps) {
  const int64_t T = x.size(0), D = x.size(1);
  Tensor y = at::empty({T, D}, x.options()), sum = at::empty({T, D}, x.options());
  const Tensor weight = w.contiguous();
  DispatchFloat(x.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V *xp = x.const_data_ptr<V>(), *rp = residual.const_data_ptr<V>(), *wp = weight.const_data_ptr<V>();
    V *yp = y.mutable_data_ptr<V>(), *sp = sum.mutable_data_ptr<V>();
    const int64_t x_stride = x.stride(0), r_stride = residual.stride(0);
    at::parallel_for(0, T, RowGrain(D), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const V *x_row = xp + t * x_stride, *r_row = rp + t * r_stride;
        V* s_row = sp + t * D;
        for (int64_t d = 0; d < D; ++d) s_row[d] = static_cast<V>(static_cast<float>(x_row[d]) + static_cast<float>(r_row[d]));
        NormRow(s_row, wp, yp + t * D, D, static_cast<float>(eps));
      }
    });
  });
  return {y, sum};
}

// With n = x r, r = 1 / sqrt(mean x^2 + eps), g = dy w:  dx = r (g - n mean(g n)),  dw = sum_t dy n.
// dw is summed in blocks of rows whose limits do not depend on the number of threads.
std::tuple<Tensor, Tensor> RmsNormBackwardCpu(const Tensor& dy, const Tensor& x, const Tensor& w, double eps) {
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
  return {dx, dw};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("rms_norm", TORCH_FN(RmsNormCpu));
  m.impl("add_rms_norm", TORCH_FN(AddRmsNormCpu));
  m.impl("rms_norm_backward", TORCH_FN(RmsNormBackwardCpu));
}

}  // namespace fathom::ops
