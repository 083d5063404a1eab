// C [rows, width] (+)= A [rows, depth] B [depth, width] on packed units: the product that attention is made of.
// Compiled by cpu/level_*.cc alone.
#pragma once

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

template <bool kDots>
FATHOM_INLINE Floats MultiplyAdd(Floats a, Floats b, Floats sum) {
#if defined(__AVX512BF16__)
  if constexpr (kDots) return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
#endif
  return Fma(a, b, sum);
}

struct Product {
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t b_stride;
  int64_t depth;
  float* c;
  int64_t c_stride;
  bool accumulate;
};

template <bool kDots, int kRows, int kVectors>
FATHOM_INLINE void ProductTile(const Product& p, int64_t row, int64_t column) {
  Floats acc[kRows][kVectors];
  float* c = p.c + row * p.c_stride + column;
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) acc[i][j] = p.accumulate ? Load(c + i * p.c_stride + j * kLanes) : Set(0.0f);
  }
  const float *a = p.a + row * p.a_stride, *b = p.b + column;
  for (int64_t k = 0; k < p.depth; ++k) {
    Floats columns[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) columns[j] = Load(b + k * p.b_stride + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Floats value = Set(a[i * p.a_stride + k]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) acc[i][j] = MultiplyAdd<kDots>(value, columns[j], acc[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) Store(c + i * p.c_stride + j * kLanes, acc[i][j]);
  }
}

template <bool kDots, int kVectors>
FATHOM_INLINE void ProductColumns(const Product& p, int64_t rows, int64_t column) {
  int64_t row = 0;
  for (; row + 6 <= rows; row += 6) ProductTile<kDots, 6, kVectors>(p, row, column);
  for (; row + 3 <= rows; row += 3) ProductTile<kDots, 3, kVectors>(p, row, column);
  for (; row < rows; ++row) ProductTile<kDots, 1, kVectors>(p, row, column);
}

// `width` is a multiple of 16. Each value of C is one sum over k in order, wherever it stands.
template <bool kDots>
void MultiplyPacked(const Product& p, int64_t rows, int64_t width) {
  int64_t column = 0;
  if constexpr (kLanes == 16) {
    for (; column + 64 <= width; column += 64) ProductColumns<kDots, 4>(p, rows, column);
  }
  constexpr int kNarrow = static_cast<int>(16 / kLanes);
  for (; column < width; column += 16) ProductColumns<kDots, kNarrow>(p, rows, column);
}

}  // namespace
}  // namespace fathom::ops
