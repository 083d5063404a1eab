// One vector of floats at the width of the instruction set that the including file is compiled for. Included by level_*.cc alone.
// Everything is in an unnamed namespace, and no template of the standard library is used: a function that several
// files compile with different flags must never be shared by the linker.
#pragma once

#include <cstdint>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace fathom::ops {
namespace {

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

#define FATHOM_INLINE inline __attribute__((always_inline))

template <typename To, typename From>
FATHOM_INLINE To BitCast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

FATHOM_INLINE int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
FATHOM_INLINE int64_t Max(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- scalars
FATHOM_INLINE float ToFloat(float x) { return x; }
FATHOM_INLINE float ToFloat(Bf16 x) { return BitCast<float>(static_cast<uint32_t>(x.bits) << 16); }
FATHOM_INLINE float ToFloat(F16 x) {
#if defined(__F16C__)
  return _cvtsh_ss(x.bits);
#else
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16, magnitude = x.bits & 0x7fff;
  if (magnitude >= 0x7c00) return BitCast<float>(sign | 0x7f800000u | (magnitude << 13));
  // Scaling by 2^112 moves the exponent's bias from 15 to 127 and makes denormals right.
  return BitCast<float>(BitCast<uint32_t>(BitCast<float>(magnitude << 13) * 0x1p112f) | sign);
#endif
}

template <typename T>
T FromFloat(float x);
template <>
FATHOM_INLINE float FromFloat<float>(float x) { return x; }
template <>
FATHOM_INLINE Bf16 FromFloat<Bf16>(float x) {
  const uint32_t bits = BitCast<uint32_t>(x);
  if (x != x) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
template <>
FATHOM_INLINE F16 FromFloat<F16>(float x) {
#if defined(__F16C__)
  return {static_cast<uint16_t>(_cvtss_sh(x, 0))};
#else
  const uint32_t bits = BitCast<uint32_t>(x), sign = (bits >> 16) & 0x8000;
  const float magnitude = BitCast<float>(bits & 0x7fffffffu);
  if (x != x) return {static_cast<uint16_t>(sign | 0x7e00)};
  if (magnitude >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00)};
  if (magnitude < 0x1p-14f) {  // a denormal: the addition rounds to its unit, 2^-24
    return {static_cast<uint16_t>(sign | (BitCast<uint32_t>(magnitude + 0.5f) - BitCast<uint32_t>(0.5f)))};
  }
  const uint32_t m = BitCast<uint32_t>(magnitude);
  return {static_cast<uint16_t>(sign | ((m - 0x38000000u + 0xfff + ((m >> 13) & 1)) >> 13))};
#endif
}

// ---- vectors
#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
using Floats = __m512;
using Ints = __m512i;
FATHOM_INLINE Floats Set(float x) { return _mm512_set1_ps(x); }
FATHOM_INLINE Floats Load(const float* p) { return _mm512_loadu_ps(p); }
FATHOM_INLINE Floats Widen(__m256i bits, Bf16) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)); }
FATHOM_INLINE Floats Widen(__m256i bits, F16) { return _mm512_cvtph_ps(bits); }
template <typename T>
FATHOM_INLINE Floats Load(const T* p) { return Widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), T{}); }
FATHOM_INLINE Floats LoadPart(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p); }
template <typename T>
FATHOM_INLINE Floats LoadPart(const T* p, int64_t n) { return Widen(_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1u), p), T{}); }
FATHOM_INLINE __m256i Narrow(Floats x, Bf16) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0)));
}
FATHOM_INLINE __m256i Narrow(Floats x, F16) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
FATHOM_INLINE void Store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
template <typename T>
FATHOM_INLINE void Store(T* p, Floats x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), Narrow(x, T{})); }
FATHOM_INLINE void StorePart(float* p, Floats x, int64_t n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), x); }
template <typename T>
FATHOM_INLINE void StorePart(T* p, Floats x, int64_t n) { _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << n) - 1u), Narrow(x, T{})); }
// The value after rounding to T.
FATHOM_INLINE Floats RoundTo(Floats x, float) { return x; }
template <typename T>
FATHOM_INLINE Floats RoundTo(Floats x, T) { return Widen(Narrow(x, T{}), T{}); }
FATHOM_INLINE Floats Fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
FATHOM_INLINE Floats Max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
FATHOM_INLINE Floats ZeroBelow(Floats value, Floats x, float limit) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ), value);
}
FATHOM_INLINE Floats PowerOfTwo(Floats magic) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(magic), 23), _mm512_set1_epi32(0x3f800000)));
}
FATHOM_INLINE __m128 FoldToFour(Floats x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}
FATHOM_INLINE float MaxOf(Floats x) { return _mm512_reduce_max_ps(x); }
#elif defined(__AVX2__)
constexpr int64_t kLanes = 8;
using Floats = __m256;
FATHOM_INLINE Floats Set(float x) { return _mm256_set1_ps(x); }
FATHOM_INLINE Floats Load(const float* p) { return _mm256_loadu_ps(p); }
FATHOM_INLINE Floats Widen(__m128i bits, Bf16) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16)); }
FATHOM_INLINE Floats Widen(__m128i bits, F16) { return _mm256_cvtph_ps(bits); }
template <typename T>
FATHOM_INLINE Floats Load(const T* p) { return Widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), T{}); }
FATHOM_INLINE __m128i Narrow(Floats x, Bf16) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  rounded = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}
FATHOM_INLINE __m128i Narrow(Floats x, F16) { return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
FATHOM_INLINE void Store(float* p, Floats x) { _mm256_storeu_ps(p, x); }
template <typename T>
FATHOM_INLINE void Store(T* p, Floats x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), Narrow(x, T{})); }
FATHOM_INLINE Floats RoundTo(Floats x, float) { return x; }
template <typename T>
FATHOM_INLINE Floats RoundTo(Floats x, T) { return Widen(Narrow(x, T{}), T{}); }
FATHOM_INLINE Floats Fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
FATHOM_INLINE Floats Max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
FATHOM_INLINE Floats ZeroBelow(Floats value, Floats x, float limit) {
  return _mm256_and_ps(value, _mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_NLT_UQ));
}
FATHOM_INLINE Floats PowerOfTwo(Floats magic) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(magic), 23), _mm256_set1_epi32(0x3f800000)));
}
FATHOM_INLINE __m128 FoldToFour(Floats x) { return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }
#else
constexpr int64_t kLanes = 4;
typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));
FATHOM_INLINE Floats Set(float x) { return Floats{x, x, x, x}; }
FATHOM_INLINE Floats Load(const float* p) {
  Floats x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
template <typename T>
FATHOM_INLINE Floats Load(const T* p) { return Floats{ToFloat(p[0]), ToFloat(p[1]), ToFloat(p[2]), ToFloat(p[3])}; }
FATHOM_INLINE void Store(float* p, Floats x) { __builtin_memcpy(p, &x, sizeof(x)); }
template <typename T>
FATHOM_INLINE void Store(T* p, Floats x) {
  for (int64_t i = 0; i < kLanes; ++i) p[i] = FromFloat<T>(x[i]);
}
FATHOM_INLINE Floats RoundTo(Floats x, float) { return x; }
template <typename T>
FATHOM_INLINE Floats RoundTo(Floats x, T) {
  for (int64_t i = 0; i < kLanes; ++i) x[i] = ToFloat(FromFloat<T>(x[i]));
  return x;
}
FATHOM_INLINE Floats Fma(Floats a, Floats b, Floats c) { return a * b + c; }
FATHOM_INLINE Floats Max(Floats a, Floats b) { return BitCast<Floats>((BitCast<Ints>(a) & (a > b)) | (BitCast<Ints>(b) & ~(a > b))); }
FATHOM_INLINE Floats ZeroBelow(Floats value, Floats x, float limit) { return BitCast<Floats>(BitCast<Ints>(value) & ~(x < Set(limit))); }
FATHOM_INLINE Floats PowerOfTwo(Floats magic) { return BitCast<Floats>((BitCast<Ints>(magic) << 23) + 0x3f800000); }
#endif

#if !defined(__AVX512F__)
template <typename T>
FATHOM_INLINE Floats LoadPart(const T* p, int64_t n) {
  T values[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) values[i] = p[i];
  return Load(values);
}
template <typename T>
FATHOM_INLINE void StorePart(T* p, Floats x, int64_t n) {
  T values[kLanes];
  Store(values, x);
  for (int64_t i = 0; i < n; ++i) p[i] = values[i];
}
FATHOM_INLINE float MaxOf(Floats x) {
  float values[kLanes];
  Store(values, x);
  float max = values[0];
  for (int64_t i = 1; i < kLanes; ++i) max = values[i] > max ? values[i] : max;
  return max;
}
#endif

// The sums of four vectors' lanes, each in the order that Sum has.
#if defined(__AVX2__)
FATHOM_INLINE void SumFour(const Floats* x, float* out) {
  const __m128 ab = _mm_hadd_ps(FoldToFour(x[0]), FoldToFour(x[1])), cd = _mm_hadd_ps(FoldToFour(x[2]), FoldToFour(x[3]));
  _mm_storeu_ps(out, _mm_hadd_ps(ab, cd));
}
FATHOM_INLINE float Sum(Floats x) {
  const __m128 four = FoldToFour(x), two = _mm_hadd_ps(four, four);
  return _mm_cvtss_f32(_mm_hadd_ps(two, two));
}
#else
FATHOM_INLINE float Sum(Floats x) { return (x[0] + x[1]) + (x[2] + x[3]); }
FATHOM_INLINE void SumFour(const Floats* x, float* out) {
  for (int64_t i = 0; i < 4; ++i) out[i] = Sum(x[i]);
}
#endif

// e^x to 2 units in the last place; 0 below -87.3 (so for -infinity too), NaN for NaN. Arguments above 88 are not used here:
// callers pass x <= 88. Cody-Waite reduction by ln 2 and a polynomial of degree 6.
FATHOM_INLINE Floats Exp(Floats x) {
  constexpr float kLowest = -87.3f, kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const Floats clamped = Max(Set(kLowest), x);             // NaN stays: Max gives its second argument then
  const Floats magic = Fma(clamped, Set(1.44269504088896341f), Set(kMagic)), n = magic - Set(kMagic);
  Floats r = Fma(n, Set(-0.693359375f), clamped);
  r = Fma(n, Set(2.12194440e-4f), r);
  Floats p = Set(1.9875691500e-4f);
  p = Fma(p, r, Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  p = Fma(p, r * r, r + Set(1.0f));
  return ZeroBelow(p * PowerOfTwo(magic), x, kLowest);
}

// 1 / (1 + e^-x), from e^-|x| so that nothing overflows; 0 far below.
FATHOM_INLINE Floats Sigmoid(Floats x) {
  const Floats e = Exp(Set(0.0f) - Max(x, Set(0.0f) - x));
  return (e + ZeroBelow(Set(1.0f) - e, x, 0.0f)) / (Set(1.0f) + e);
}

}  // namespace
}  // namespace fathom::ops
