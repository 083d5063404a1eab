#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

constexpr int64_t kGrainValues = 8192;

int64_t RowGrain(int64_t row_values) { return std::max<int64_t>(1, kGrainValues / std::max<int64_t>(1, row_values)); }

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

Tensor SwigluCpu(const Tensor& gate_up) {
  const int64_t T = gate_up.size(0), F = gate_up.size(1) / 2;
  Tensor y = at::empty({T, F}, gate_up.options());
  DispatchFloat(gate_up.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V* in = gate_up.const_data_ptr<V>();
    V* out = y.mutable_data_ptr<V>();
    at::parallel_for(0, T, RowGrain(F), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const V *gate = in + t * 2 * F, *up = gate + F;
        for (int64_t f = 0; f < F; ++f) {
          const float g = static_cast<float>(gate[f]);
          const V silu = static_cast<V>(g * Sigmoid(g));
          out[t * F + f] = static_cast<V>(static_cast<float>(silu) * static_cast<float>(up[f]));
        }
      }
    });
  });
  return y;
}

Tensor SwigluBackwardCpu(const Tensor& dy, const Tensor& gate_up) {
  const int64_t T = gate_up.size(0), F = gate_up.size(1) / 2;
  Tensor dgate_up = at::empty({T, 2 * F}, gate_up.options());
  const Tensor grad = dy.contiguous();
  DispatchFloat(gate_up.scalar_type(), [&](auto zero) {
    using V = decltype(zero);
    const V *in = gate_up.const_data_ptr<V>(), *gp = grad.const_data_ptr<V>();
    V* out = dgate_up.mutable_data_ptr<V>();
    at::parallel_for(0, T, RowGrain(F), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const V *gate = in + t * 2 * F, *up = gate + F;
        V *dgate = out + t * 2 * F, *dup = dgate + F;
        for (int64_t f = 0; f < F; ++f) {
          const float g = static_cast<float>(gate[f]), s = Sigmoid(g), d = static_cast<float>(gp[t * F + f]);
          dup[f] = static_cast<V>(d * static_cast<float>(static_cast<V>(g * s)));
          dgate[f] = static_cast<V>(d * static_cast<float>(up[f]) * s * (1.0f + g * (1.0f - s)));
        }
      }
    });
  });
  return dgate_up;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("swiglu", TORCH_FN(SwigluCpu));
  m.impl("swiglu_backward", TORCH_FN(SwigluBackwardCpu));
}

}  // namespace fathom::ops
