// Keys and values of one block, laid out for the products of attend_kernel.h. Compiled by cpu/level_*.cc alone.
// A unit is four bytes: one float, or two neighbouring bf16 where the dot-product instruction is used.
#pragma once

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

#if defined(__AVX512BF16__)
template <typename T>
constexpr bool kUsesDots = false;
template <>
constexpr bool kUsesDots<Bf16> = true;
#else
template <typename T>
constexpr bool kUsesDots = false;
#endif

// Units that `count` values of a sum take.
template <typename T>
FATHOM_INLINE int64_t Units(int64_t count) { return kUsesDots<T> ? (count + 1) / 2 : count; }

// values[0 .. n) as units; with dots an odd last value has a zero beside it.
template <typename T>
FATHOM_INLINE void PackRow(const T* values, int64_t n, float* units) {
  if constexpr (kUsesDots<T>) {
    units[Units<T>(n) - 1] = 0.0f;
    __builtin_memcpy(units, values, n * sizeof(T));
  } else {
    int64_t d = 0;
    for (; d + kLanes <= n; d += kLanes) Store(units + d, Load(values + d));
    for (; d < n; ++d) units[d] = ToFloat(values[d]);
  }
}

#if defined(__AVX512F__)
FATHOM_INLINE void Transpose16(__m512* r) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
    const __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
    r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
    t[8 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
    t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[4 + i], 0x88);
    r[8 + i] = _mm512_shuffle_f32x4(t[i], t[4 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_f32x4(t[8 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_f32x4(t[8 + i], t[12 + i], 0xdd);
  }
}

// Sixteen units of a row from unit u on, zero past its `n` values; a null row is all zero.
template <typename T>
FATHOM_INLINE __m512 LoadUnits(const T* row, int64_t u, int64_t n) {
  if (row == nullptr) return _mm512_setzero_ps();
  if constexpr (kUsesDots<T>) {
    const int64_t left = n - 2 * u;
    if (left >= 32) return _mm512_castsi512_ps(_mm512_loadu_si512(row + 2 * u));
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << left) - 1), row + 2 * u));
  } else {
    return n - u >= kLanes ? Load(row + u) : LoadPart(row + u, n - u);
  }
}
#endif

// keys_units[u][j] = unit u of key j, for j < padded (a multiple of 16) keys; null rows are zero. Rows are kAttendBlockKeys apart.
template <typename T>
FATHOM_INLINE void PackKeys(const T* const* rows, int64_t padded, int64_t dk, float* keys_units) {
  const int64_t units = Units<T>(dk);
#if defined(__AVX512F__)
  for (int64_t j = 0; j < padded; j += 16) {
    for (int64_t u = 0; u < units; u += 16) {
      __m512 block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) block[i] = LoadUnits(rows[j + i], u, dk);
      Transpose16(block);
      const int64_t count = Min(16, units - u);
      for (int64_t i = 0; i < count; ++i) Store(keys_units + (u + i) * kAttendBlockKeys + j, block[i]);
    }
  }
#else
  for (int64_t j = 0; j < padded; ++j) {
    for (int64_t u = 0; u < units; ++u) keys_units[u * kAttendBlockKeys + j] = rows[j] != nullptr ? ToFloat(rows[j][u]) : 0.0f;
  }
#endif
}

// values_units[unit of keys][d]: the rows themselves as floats, or pairs of neighbouring keys. Rows are `width` = PaddedWidth(dv) apart.
template <typename T>
FATHOM_INLINE void PackValues(const T* const* rows, int64_t n, int64_t dv, float* values_units) {
  const int64_t width = PaddedWidth(dv);
#if defined(__AVX512BF16__)
  if constexpr (kUsesDots<T>) {
    const __m512i index = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2,
                                           33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(index, _mm512_set1_epi16(16));
    for (int64_t j = 0; j < n; j += 2) {
      const T *first = rows[j], *second = j + 1 < n ? rows[j + 1] : nullptr;
      float* out = values_units + j / 2 * width;
      for (int64_t d = 0; d < width; d += 32) {
        const __m512i a = d < dv ? _mm512_castps_si512(LoadUnits(first, d / 2, dv)) : _mm512_setzero_si512();
        const __m512i b = d < dv ? _mm512_castps_si512(LoadUnits(second, d / 2, dv)) : _mm512_setzero_si512();
        Store(out + d, _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, index, b)));
        if (d + 16 < width) Store(out + d + 16, _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, high, b)));
      }
    }
    return;
  }
#endif
  for (int64_t j = 0; j < n; ++j) {
    float* out = values_units + j * width;
    int64_t d = 0;
    for (; d + kLanes <= dv; d += kLanes) Store(out + d, Load(rows[j] + d));
    for (; d < width; ++d) out[d] = d < dv ? ToFloat(rows[j][d]) : 0.0f;
  }
}

}  // namespace
}  // namespace fathom::ops
