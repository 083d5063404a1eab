// Rows of silu(gate) * up, and of its gradient. Compiled by cpu/level_*.cc alone.
#pragma once

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

template <typename T>
void SwigluKernel(const SwigluArgs& args, int64_t begin, int64_t end) {
  const int64_t F = args.F;
  for (int64_t t = begin; t < end; ++t) {
    const T *gate = static_cast<const T*>(args.gate_up) + t * 2 * F, *up = gate + F;
    if (args.dy == nullptr) {
      T* y = static_cast<T*>(args.out) + t * F;
      int64_t f = 0;
      for (; f + kLanes <= F; f += kLanes) {
        const Floats g = Load(gate + f);
        Store(y + f, RoundTo(g * Sigmoid(g), T{}) * Load(up + f));
      }
      if (f < F) {
        const Floats g = LoadPart(gate + f, F - f);
        StorePart(y + f, RoundTo(g * Sigmoid(g), T{}) * LoadPart(up + f, F - f), F - f);
      }
      continue;
    }
    const T* dy = static_cast<const T*>(args.dy) + t * F;
    T *dgate = static_cast<T*>(args.out) + t * 2 * F, *dup = dgate + F;
    for (int64_t f = 0; f < F; f += kLanes) {
      const int64_t n = Min(kLanes, F - f);
      const Floats g = LoadPart(gate + f, n), s = Sigmoid(g), d = LoadPart(dy + f, n);
      StorePart(dup + f, d * RoundTo(g * s, T{}), n);
      StorePart(dgate + f, d * LoadPart(up + f, n) * s * Fma(g, Set(1.0f) - s, Set(1.0f)), n);
    }
  }
}

}  // namespace
}  // namespace fathom::ops
