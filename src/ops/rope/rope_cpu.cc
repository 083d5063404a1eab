#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kGrainValues = 16384;

template <typename T>
void Rotate(const T* x, const float* cos, const float* sin, T* y, int64_t half, bool interleaved) {
  const int64_t step = interleaved ? 2 : 1, second = interleaved ? 1 : half;
  for (int64_t i = 0; i < half; ++i) {
    const float a = static_cast<float>(x[i * step]), b = static_cast<float>(x[i * step + second]);
    y[i] = static_cast<T>(a * cos[i] - b * sin[i]);
    y[i + half] = static_cast<T>(b * cos[i] + a * sin[i]);
  }
}

template <typename T>
void RotateBack(const T* dy, const float* cos, const float* sin, T* dx, int64_t half, bool interleaved) {
  const int64_t step = interleaved ? 2 : 1, second = interleaved ? 1 : half;
  for (int64_t i = 0; i < half; ++i) {
    const float a = static_cast<float>(dy[i]), b = static_cast<float>(dy[i + half]);
    dx[i * step] = static_cast<T>(a * cos[i] + b * sin[i]);
    dx[i * step + second] = static_cast<T>(b * cos[i] - a * sin[i]);
  }
}

template <bool kBackward>
Tensor RopeCpu(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) {
  const int64_t T = x.size(0), H = x.size(1), D = x.size(2), half = D / 2;
  Tensor y = at::empty({T, H, D}, x.options());
  const Tensor input = x.stride(2) == 1 ? x : x.contiguous();
  DispatchFloat(x.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V* xp = input.const_data_ptr<V>();
    V* yp = y.mutable_data_ptr<V>();
    const float *cp = cos.const_data_ptr<float>(), *sp = sin.const_data_ptr<float>();
    const int64_t t_stride = input.stride(0), h_stride = input.stride(1);
    at::parallel_for(0, T, std::max<int64_t>(1, kGrainValues / std::max<int64_t>(1, H * D)), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t h = 0; h < H; ++h) {
          const V* in = xp + t * t_stride + h * h_stride;
          V* out = yp + (t * H + h) * D;
          if constexpr (kBackward) {
            RotateBack(in, cp + t * half, sp + t * half, out, half, interleaved);
          } else {
            Rotate(in, cp + t * half, sp + t * half, out, half, interleaved);
          }
        }
      }
    });
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("rope", TORCH_FN(RopeCpu<false>));
  m.impl("rope_backward", TORCH_FN(RopeCpu<true>));
}

}  // namespace fathom::ops
