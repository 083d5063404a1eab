#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

template <typename X, typename W>
float Dot(const X* x, const W* w, int64_t K) {
  constexpr int64_t kLanes = 16;
  float lanes[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) lanes[i] += static_cast<float>(x[k + i]) * static_cast<float>(w[k + i]);
  }
  for (int64_t i = 0; k + i < K; ++i) lanes[i] += static_cast<float>(x[k + i]) * static_cast<float>(w[k + i]);
  float sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

template <typename X, typename W>
void Rows(const Tensor& x, const Tensor& w, const OptionalTensor& bias, Tensor& y) {
  const int64_t M = x.size(0), N = w.size(0), K = x.size(1);
  const X* xp = x.const_data_ptr<X>();
  const W *wp = w.const_data_ptr<W>(), *bp = bias ? bias->const_data_ptr<W>() : nullptr;
  X* yp = y.mutable_data_ptr<X>();
  at::parallel_for(0, N, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, K)), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t m = 0; m < M; ++m) {
        yp[m * N + n] = static_cast<X>(Dot(xp + m * K, wp + n * K, K) + (bp ? static_cast<float>(bp[n]) : 0.0f));
      }
    }
  });
}

Tensor LinearRowsCpu(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  Tensor y = at::empty({x.size(0), w.size(0)}, x.options());
  if (x.scalar_type() == at::kFloat && w.scalar_type() == at::kBFloat16) {
    Rows<float, c10::BFloat16>(x, w, bias, y);
  } else {
    DispatchFloat(x.scalar_type(), [&](auto zero) { Rows<decltype(zero), decltype(zero)>(x, w, bias, y); });
  }
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("linear_rows", TORCH_FN(LinearRowsCpu)); }
TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("linear_rows", TORCH_FN(LinearRowsOp::NotDifferentiable)); }

}  // namespace fathom::ops
