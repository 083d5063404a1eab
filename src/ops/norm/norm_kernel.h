// Rows of (residual addition and) RMS normalisation. Compiled by cpu/level_*.cc alone.
#pragma once

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

// The row whose norm is taken: x, or x + residual rounded to T and stored in sum.
template <typename T>
FATHOM_INLINE float SumOfSquares(const T* x, const T* residual, T* sum, int64_t D) {
  Floats squares = Set(0.0f);
  for (int64_t d = 0; d < D; d += kLanes) {
    const int64_t n = Min(kLanes, D - d);
    Floats value = n == kLanes ? Load(x + d) : LoadPart(x + d, n);
    if (residual != nullptr) {
      value = RoundTo(value + (n == kLanes ? Load(residual + d) : LoadPart(residual + d, n)), T{});
      if (n == kLanes) {
        Store(sum + d, value);
      } else {
        StorePart(sum + d, value, n);
      }
    }
    squares = Fma(value, value, squares);
  }
  return Sum(squares);
}

template <typename T>
void NormKernel(const NormArgs& args, int64_t begin, int64_t end) {
  const T* w = static_cast<const T*>(args.w);
  for (int64_t t = begin; t < end; ++t) {
    const T* x = static_cast<const T*>(args.x) + t * args.x_stride;
    const T* residual = args.residual != nullptr ? static_cast<const T*>(args.residual) + t * args.residual_stride : nullptr;
    T* sum = residual != nullptr ? static_cast<T*>(args.sum) + t * args.D : nullptr;
    T* y = static_cast<T*>(args.y) + t * args.D;
    const float mean = SumOfSquares(x, residual, sum, args.D) / static_cast<float>(args.D);
    const Floats inverse = Set(1.0f / __builtin_sqrtf(mean + args.eps));
    const T* row = residual != nullptr ? sum : x;
    int64_t d = 0;
    for (; d + kLanes <= args.D; d += kLanes) Store(y + d, RoundTo(Load(row + d) * inverse, T{}) * Load(w + d));
    if (d < args.D) {
      const int64_t n = args.D - d;
      StorePart(y + d, RoundTo(LoadPart(row + d, n) * inverse, T{}) * LoadPart(w + d, n), n);
    }
  }
}

}  // namespace
}  // namespace fathom::ops
