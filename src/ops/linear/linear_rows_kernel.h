// Products of a few rows with rows of a weight that streams from memory once. Compiled by cpu/level_*.cc alone.
// Each output has one vector of partial sums that walks K in steps of a vector, whatever the number of rows beside it.
#pragma once

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

// Memory gives its full speed to addresses in order. With up to kLinearRows rows of x one row of w is read at a time, which the hardware
// foresees by itself; a tile of kTileCols rows of w (for more rows of x) asks for the bytes one tile ahead, in order too.
constexpr int64_t kLinearRows = 2;
constexpr int kTileCols = 4;

template <int kCols, typename W>
FATHOM_INLINE const char* Ahead(const W* w, int64_t K) {
  return reinterpret_cast<const char*>(w) + Max(8192, kCols * K * static_cast<int64_t>(sizeof(W)) + 4096);
}

template <int kCols>
FATHOM_INLINE void Prefetch(const char*& ahead, int64_t lines) {
  if constexpr (kCols == 1) return;
#pragma GCC unroll 8
  for (int64_t i = 0; i < lines; ++i) __builtin_prefetch(ahead + i * 64, 0, 2);
  ahead += lines * 64;
}

template <int kRows, int kCols>
FATHOM_INLINE void StoreSums(const Floats (&acc)[kRows][kCols], float* sums) {
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
    if constexpr (kCols == 4) {
      SumFour(acc[m], sums + m * kCols);
    } else {
#pragma GCC unroll 8
      for (int n = 0; n < kCols; ++n) sums[m * kCols + n] = Sum(acc[m][n]);
    }
  }
}

// kRows rows of x against kCols rows of w: the sum of each pair.
template <int kRows, int kCols, typename W>
FATHOM_INLINE void DotTile(const float* x, const W* w, int64_t K, float* sums) {
  Floats acc[kRows][kCols];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) acc[m][n] = Set(0.0f);
  }
  const char* ahead = Ahead<kCols>(w, K);
  int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) {
    Floats columns[kCols];
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) columns[n] = Load(w + n * K + k);
    Prefetch<kCols>(ahead, kCols * kLanes * static_cast<int64_t>(sizeof(W)) / 64);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const Floats row = Load(x + m * K + k);
#pragma GCC unroll 8
      for (int n = 0; n < kCols; ++n) acc[m][n] = Fma(row, columns[n], acc[m][n]);
    }
  }
  if (k < K) {
    Floats columns[kCols];
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) columns[n] = LoadPart(w + n * K + k, K - k);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const Floats row = LoadPart(x + m * K + k, K - k);
#pragma GCC unroll 8
      for (int n = 0; n < kCols; ++n) acc[m][n] = Fma(row, columns[n], acc[m][n]);
    }
  }
  StoreSums(acc, sums);
}

#if defined(__AVX512BF16__)
template <int kRows, int kCols>
FATHOM_INLINE void DotTileBf16(const Bf16* x, const Bf16* w, int64_t K, float* sums) {
  Floats acc[kRows][kCols];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) acc[m][n] = Set(0.0f);
  }
  const char* ahead = Ahead<kCols>(w, K);
  int64_t k = 0;
  for (; k + 32 <= K; k += 32) {
    __m512i columns[kCols];
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) {
      columns[n] = _mm512_loadu_si512(w + n * K + k);
      asm("" : "+v"(columns[n]));  // stays in its register; the compiler would read it from memory again for each row of x
    }
    Prefetch<kCols>(ahead, kCols);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const __m512i row = _mm512_loadu_si512(x + m * K + k);
#pragma GCC unroll 8
      for (int n = 0; n < kCols; ++n) acc[m][n] = _mm512_dpbf16_ps(acc[m][n], (__m512bh)row, (__m512bh)columns[n]);
    }
  }
  if (k < K) {
    const __mmask32 mask = static_cast<__mmask32>((uint64_t{1} << (K - k)) - 1);
    __m512i columns[kCols];
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) columns[n] = _mm512_maskz_loadu_epi16(mask, w + n * K + k);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const __m512i row = _mm512_maskz_loadu_epi16(mask, x + m * K + k);
#pragma GCC unroll 8
      for (int n = 0; n < kCols; ++n) acc[m][n] = _mm512_dpbf16_ps(acc[m][n], (__m512bh)row, (__m512bh)columns[n]);
    }
  }
  StoreSums(acc, sums);
}
#endif

// Calls tile.operator()<kRows>(first row) for the rows of x in blocks of 6, 4, 2 and 1.
template <typename Tile>
FATHOM_INLINE void ForRowBlocks(int64_t M, const Tile& tile) {
  int64_t m = 0;
  while (m < M) {
    const int64_t left = M - m;
    if (left >= 6 && left != 8) {
      tile.template operator()<6>(m);
      m += 6;
    } else if (left >= 4) {
      tile.template operator()<4>(m);
      m += 4;
    } else if (left >= 2) {
      tile.template operator()<2>(m);
      m += 2;
    } else {
      tile.template operator()<1>(m);
      m += 1;
    }
  }
}

template <int kRows, int kCols, typename W, typename Y>
FATHOM_INLINE void StoreTile(const LinearRowsArgs& args, int64_t m, int64_t n, const float* sums) {
  const W* bias = static_cast<const W*>(args.bias);
  Y* y = static_cast<Y*>(args.y);
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kCols; ++j) {
      y[(m + i) * args.N + n + j] = FromFloat<Y>(sums[i * kCols + j] + (bias != nullptr ? ToFloat(bias[n + j]) : 0.0f));
    }
  }
}

template <typename W, typename Y>
void LinearRowsKernel(const LinearRowsArgs& args, int64_t n_begin, int64_t n_end) {
  const float* x = static_cast<const float*>(args.x);
  const W* w = static_cast<const W*>(args.w);
  int64_t n = n_begin;
  for (; args.M > kLinearRows && n + kTileCols <= n_end; n += kTileCols) {
    ForRowBlocks(args.M, [&]<int kRows>(int64_t m) {
      float sums[kRows * kTileCols];
      DotTile<kRows, kTileCols>(x + m * args.K, w + n * args.K, args.K, sums);
      StoreTile<kRows, kTileCols, W, Y>(args, m, n, sums);
    });
  }
  for (; n < n_end; ++n) {
    ForRowBlocks(args.M, [&]<int kRows>(int64_t m) {
      float sums[kRows];
      DotTile<kRows, 1>(x + m * args.K, w + n * args.K, args.K, sums);
      StoreTile<kRows, 1, W, Y>(args, m, n, sums);
    });
  }
}

#if defined(__AVX512BF16__)
void LinearRowsBf16Kernel(const LinearRowsArgs& args, int64_t n_begin, int64_t n_end) {
  const Bf16 *x = static_cast<const Bf16*>(args.x), *w = static_cast<const Bf16*>(args.w);
  int64_t n = n_begin;
  for (; args.M > kLinearRows && n + kTileCols <= n_end; n += kTileCols) {
    ForRowBlocks(args.M, [&]<int kRows>(int64_t m) {
      float sums[kRows * kTileCols];
      DotTileBf16<kRows, kTileCols>(x + m * args.K, w + n * args.K, args.K, sums);
      StoreTile<kRows, kTileCols, Bf16, Bf16>(args, m, n, sums);
    });
  }
  for (; n < n_end; ++n) {
    ForRowBlocks(args.M, [&]<int kRows>(int64_t m) {
      float sums[kRows];
      DotTileBf16<kRows, 1>(x + m * args.K, w + n * args.K, args.K, sums);
      StoreTile<kRows, 1, Bf16, Bf16>(args, m, n, sums);
    });
  }
}
#endif

}  // namespace
}  // namespace fathom::ops
