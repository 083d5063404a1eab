// The rotation of 2 kSize values of a head in registers.
#pragma once

#include "cuda/scalar.cuh"

namespace fathom::cuda {

// a and b hold kSize pairs (first, second): with pairs_in side by side (a then b), else the firsts in a and the seconds in b; c and d likewise by pairs_out.
// (first, second) becomes (first cos - second sin, second cos + first sin), or with kBackward the transpose of that.
template <typename T, bool kBackward>
__device__ __forceinline__ void RotatePairs(const Vec<T>& a, const Vec<T>& b, const float (&cos)[Vec<T>::kSize], const float (&sin)[Vec<T>::kSize], bool pairs_in,
                                            bool pairs_out, Vec<T>& c, Vec<T>& d) {
  constexpr int kSize = Vec<T>::kSize;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    // Value 2 i and 2 i + 1 of (a, b), where the pairs lie side by side.
    const T even = i < kSize / 2 ? a.values[2 * i % kSize] : b.values[2 * i % kSize], odd = i < kSize / 2 ? a.values[(2 * i + 1) % kSize] : b.values[(2 * i + 1) % kSize];
    const float first = ToFloat(pairs_in ? even : a.values[i]), second = ToFloat(pairs_in ? odd : b.values[i]);
    const float s = kBackward ? -sin[i] : sin[i];
    const T x = FromFloat<T>(first * cos[i] - second * s), y = FromFloat<T>(second * cos[i] + first * s);
    if (!pairs_out) {
      c.values[i] = x;
      d.values[i] = y;
    } else if (i < kSize / 2) {
      c.values[2 * i % kSize] = x;
      c.values[(2 * i + 1) % kSize] = y;
    } else {
      d.values[2 * i % kSize] = x;
      d.values[(2 * i + 1) % kSize] = y;
    }
  }
}

}  // namespace fathom::cuda
