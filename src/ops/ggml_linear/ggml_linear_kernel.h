// Products of a few rows with a weight in ggml's blocks. Compiled by cpu/level_*.cc alone.
// Each output has one vector of partial sums that walks the blocks in order, whatever the number of rows beside it.
#pragma once

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

template <GgmlFormat kFormat>
constexpr int64_t kGgmlBlockBytes = kFormat == kGgmlQ4_0 ? 18 : kFormat == kGgmlQ4_1 ? 20 : 34;
template <GgmlFormat kFormat>
constexpr int64_t kGgmlHeaderBytes = kFormat == kGgmlQ4_1 ? 4 : 2;
constexpr int64_t kGgmlBlockValues = 32;

FATHOM_INLINE float LoadHalf(const uint8_t* at) {
  F16 half;
  __builtin_memcpy(&half, at, sizeof(half));
  return ToFloat(half);
}

template <GgmlFormat kFormat>
FATHOM_INLINE void DecodeGgmlBlock(const uint8_t* block, float* out) {
  const float d = LoadHalf(block);
  const float m = kFormat == kGgmlQ4_1 ? LoadHalf(block + 2) : 0.0f;
  const uint8_t* q = block + kGgmlHeaderBytes<kFormat>;
  if constexpr (kFormat == kGgmlQ8_0) {
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(q[i]));
  } else {
    constexpr int kOffset = kFormat == kGgmlQ4_0 ? 8 : 0;
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(static_cast<int>(q[i] & 15) - kOffset) + m;
      out[i + 16] = d * static_cast<float>(static_cast<int>(q[i] >> 4) - kOffset) + m;
    }
  }
}

// Calls rows.operator()<kRows>(first row) for M rows in blocks of 16, 8, 4, 2 and 1.
template <typename Rows>
FATHOM_INLINE void ForGgmlRows(int64_t M, const Rows& rows) {
  int64_t m = 0;
  for (; m + 16 <= M; m += 16) rows.template operator()<16>(m);
  for (; m + 8 <= M; m += 8) rows.template operator()<8>(m);
  for (; m + 4 <= M; m += 4) rows.template operator()<4>(m);
  for (; m + 2 <= M; m += 2) rows.template operator()<2>(m);
  for (; m < M; ++m) rows.template operator()<1>(m);
}

template <GgmlFormat kFormat, typename Y>
void GgmlRowsKernel(const GgmlRowsArgs& args, int64_t n_begin, int64_t n_end) {
  const float* x = static_cast<const float*>(args.x);
  Y* y = static_cast<Y*>(args.y);
  const int64_t num_blocks = args.K / kGgmlBlockValues, row_bytes = num_blocks * kGgmlBlockBytes<kFormat>;
  for (int64_t n = n_begin; n < n_end; ++n) {
    ForGgmlRows(args.M, [&]<int kRows>(int64_t m) {
      Floats acc[kRows];
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i] = Set(0.0f);
      for (int64_t b = 0; b < num_blocks; ++b) {
        alignas(64) float values[kGgmlBlockValues];
        DecodeGgmlBlock<kFormat>(args.blocks + n * row_bytes + b * kGgmlBlockBytes<kFormat>, values);
#pragma GCC unroll 8
        for (int64_t k = 0; k < kGgmlBlockValues; k += kLanes) {
          const Floats w = Load(values + k);
#pragma GCC unroll 16
          for (int i = 0; i < kRows; ++i) acc[i] = Fma(Load(x + (m + i) * args.K + b * kGgmlBlockValues + k), w, acc[i]);
        }
      }
      for (int i = 0; i < kRows; ++i) y[(m + i) * args.N + n] = FromFloat<Y>(Sum(acc[i]));
    });
  }
}

template <GgmlFormat kFormat>
void GgmlExpandKernel(const uint8_t* blocks, int64_t num_blocks, uint16_t* out) {
  for (int64_t b = 0; b < num_blocks; ++b) {
    alignas(64) float values[kGgmlBlockValues];
    DecodeGgmlBlock<kFormat>(blocks + b * kGgmlBlockBytes<kFormat>, values);
    for (int64_t k = 0; k < kGgmlBlockValues; k += kLanes) Store(reinterpret_cast<Bf16*>(out + b * kGgmlBlockValues + k), Load(values + k));
  }
}

#if defined(__AVX512BF16__)
// The integers of a block as bf16, in the order of the values; all are exact in bf16.
template <GgmlFormat kFormat>
FATHOM_INLINE __m512i LoadGgmlIntegers(const uint8_t* block, [[maybe_unused]] __m512i table) {
  const uint8_t* q = block + kGgmlHeaderBytes<kFormat>;
  if constexpr (kFormat == kGgmlQ8_0) {
    const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q))));
    const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q + 16))));
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
  } else {
    const __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q)));
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(bytes), _mm256_srli_epi16(bytes, 4), 1);
    return _mm512_permutexvar_epi16(both, table);  // takes five bits of an index: the table has its 16 values twice
  }
}

template <GgmlFormat kFormat>
FATHOM_INLINE __m512i GgmlTable() {
  alignas(64) uint16_t table[32];
  for (int i = 0; i < 32; ++i) table[i] = FromFloat<Bf16>(static_cast<float>((i & 15) - (kFormat == kGgmlQ4_0 ? 8 : 0))).bits;
  return _mm512_load_si512(table);
}

// The block's d in lane 0 and, of Q4_1, m in lane 1.
template <GgmlFormat kFormat>
FATHOM_INLINE __m128 LoadGgmlHeader(const uint8_t* block) {
  if constexpr (kFormat == kGgmlQ4_1) {
    uint32_t halves;
    __builtin_memcpy(&halves, block, sizeof(halves));
    return _mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(halves)));
  } else {
    uint16_t half;
    __builtin_memcpy(&half, block, sizeof(half));
    return _mm_cvtph_ps(_mm_cvtsi32_si128(half));
  }
}

// The sums of m times the sum of x over each block, for kRows rows in the first lanes.
template <int kRows>
struct MinimumSums {
  __m512 sum = _mm512_setzero_ps();
  FATHOM_INLINE void Add(__m128 header, const float* sums) {
    sum = _mm512_fmadd_ps(_mm512_broadcastss_ps(_mm_movehdup_ps(header)), _mm512_loadu_ps(sums), sum);
  }
  FATHOM_INLINE void Get(float* out) const { _mm512_mask_storeu_ps(out, static_cast<__mmask16>((1u << kRows) - 1u), sum); }
};
template <>
struct MinimumSums<1> {
  __m128 sum = _mm_setzero_ps();
  FATHOM_INLINE void Add(__m128 header, const float* sums) { sum = _mm_fmadd_ss(_mm_movehdup_ps(header), _mm_load_ss(sums), sum); }
  FATHOM_INLINE void Get(float* out) const { *out = _mm_cvtss_f32(sum); }
};

template <GgmlFormat kFormat, int kRows, int kCols>
FATHOM_INLINE void GgmlTile(const GgmlRowsArgs& args, int64_t m, int64_t n, __m512i table) {
  const Bf16* x = static_cast<const Bf16*>(args.x) + m * args.K;
  Bf16* y = static_cast<Bf16*>(args.y);
  constexpr int64_t kBytes = kGgmlBlockBytes<kFormat>;
  const int64_t num_blocks = args.K / kGgmlBlockValues, row_bytes = num_blocks * kBytes;
  const uint8_t* w = args.blocks + n * row_bytes;
  const uint8_t* ahead = w + Max(8192, kCols * row_bytes + 4096);
  Floats acc[kCols][kRows];
  MinimumSums<kRows> minimums[kCols];
#pragma GCC unroll 4
  for (int j = 0; j < kCols; ++j) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) acc[j][i] = Set(0.0f);
  }
  for (int64_t b = 0; b < num_blocks; ++b) {
#pragma GCC unroll 4
    for (int64_t line = 0; line < kCols * kBytes; line += 64) __builtin_prefetch(ahead + line, 0, 2);
    ahead += kCols * kBytes;
#pragma GCC unroll 4
    for (int j = 0; j < kCols; ++j) {
      const uint8_t* block = w + j * row_bytes + b * kBytes;
      const __m128 header = LoadGgmlHeader<kFormat>(block);
      const __m512 scale = _mm512_broadcastss_ps(header);
      const __m512i q = LoadGgmlIntegers<kFormat>(block, table);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const __m512i row = _mm512_loadu_si512(x + i * args.K + b * kGgmlBlockValues);
        const __m512 dots = _mm512_dpbf16_ps(_mm512_setzero_ps(), (__m512bh)q, (__m512bh)row);
        acc[j][i] = _mm512_fmadd_ps(scale, dots, acc[j][i]);
      }
      if constexpr (kFormat == kGgmlQ4_1) minimums[j].Add(header, args.sums + b * kGgmlSumStride + m);
    }
  }
  float least[kCols][kRows] = {};
#pragma GCC unroll 4
  for (int j = 0; j < kCols; ++j) {
    if constexpr (kFormat == kGgmlQ4_1) minimums[j].Get(least[j]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float sums[kCols];
    if constexpr (kCols == 4) {
      const Floats four[4] = {acc[0][i], acc[1][i], acc[2][i], acc[3][i]};
      SumFour(four, sums);
    } else {
      for (int j = 0; j < kCols; ++j) sums[j] = Sum(acc[j][i]);
    }
    for (int j = 0; j < kCols; ++j) y[(m + i) * args.N + n + j] = FromFloat<Bf16>(sums[j] + least[j][i]);
  }
}

template <GgmlFormat kFormat>
void GgmlRowsBf16Kernel(const GgmlRowsArgs& args, int64_t n_begin, int64_t n_end) {
  const __m512i table = GgmlTable<kFormat>();
  int64_t n = n_begin;
  for (; n + 4 <= n_end; n += 4) {
    ForGgmlRows(args.M, [&]<int kRows>(int64_t m) {
      if constexpr (kRows <= 4) {
        GgmlTile<kFormat, kRows, 4>(args, m, n, table);
      } else {
        for (int64_t j = 0; j < 4; ++j) GgmlTile<kFormat, kRows, 1>(args, m, n + j, table);
      }
    });
  }
  for (; n < n_end; ++n) {
    ForGgmlRows(args.M, [&]<int kRows>(int64_t m) { GgmlTile<kFormat, kRows, 1>(args, m, n, table); });
  }
}

// sums[b * kGgmlSumStride + m]: of row m's x over block b, zero past M.
void GgmlBlockSums(const void* x, int64_t M, int64_t K, float* sums) {
  const __m512i ones = _mm512_set1_epi16(0x3f80);
  for (int64_t b = 0; b < K / kGgmlBlockValues; ++b) {
    float* out = sums + b * kGgmlSumStride;
    if (M > 1) {
      for (int64_t i = 0; i < kGgmlSumStride; i += kLanes) Store(out + i, Set(0.0f));
    }
    for (int64_t m = 0; m < M; ++m) {
      const __m512i row = _mm512_loadu_si512(static_cast<const Bf16*>(x) + m * K + b * kGgmlBlockValues);
      out[m] = Sum(_mm512_dpbf16_ps(_mm512_setzero_ps(), (__m512bh)row, (__m512bh)ones));
    }
  }
}
#endif

}  // namespace
}  // namespace fathom::ops
