// Products of a few rows with rows of a weight that streams from memory once. Compiled by cpu/level_*.cc alone.
// Each output has one vector of partial sums that walks K in steps of a vector, whatever the number of rows beside it.
#pragma once

#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

// kRows rows of x against kCols rows of w: the sums of each pair.
template <int kRows, int kCols, typename W>
FATHOM_INLINE void DotTile(const float* x, const W* w, int64_t K, float* sums) {
  Floats acc[kRows][kCols];
  for (int m = 0; m < kRows; ++m) {
    for (int n = 0; n < kCols; ++n) acc[m][n] = Set(0.0f);
  }
  const auto step = [&](const auto& load_x, const auto& load_w) __attribute__((always_inline)) {
    Floats columns[kCols];
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) columns[n] = load_w(w + n * K);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const Floats row = load_x(x + m * K);
#pragma GCC unroll 8
      for (int n = 0; n < kCols; ++n) acc[m][n] = Fma(row, columns[n], acc[m][n]);
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) {
    step([&](const float* p) { return Load(p + k); }, [&](const W* p) { return Load(p + k); });
  }
  if (k < K) {
    step([&](const float* p) { return LoadPart(p + k, K - k); }, [&](const W* p) { return LoadPart(p + k, K - k); });
  }
  for (int m = 0; m < kRows; ++m) {
    if constexpr (kCols == 4) {
      SumFour(acc[m], sums + m * kCols);
    } else {
      for (int n = 0; n < kCols; ++n) sums[m * kCols + n] = Sum(acc[m][n]);
    }
  }
}

#if defined(__AVX512BF16__)
template <int kRows, int kCols>
FATHOM_INLINE void DotTileBf16(const Bf16* x, const Bf16* w, int64_t K, float* sums) {
  Floats acc[kRows][kCols];
  for (int m = 0; m < kRows; ++m) {
    for (int n = 0; n < kCols; ++n) acc[m][n] = Set(0.0f);
  }
  const auto step = [&](const auto& load) __attribute__((always_inline)) {
    __m512i columns[kCols];
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) columns[n] = load(w + n * K);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const __m512i row = load(x + m * K);
#pragma GCC unroll 8
      for (int n = 0; n < kCols; ++n) acc[m][n] = _mm512_dpbf16_ps(acc[m][n], (__m512bh)row, (__m512bh)columns[n]);
    }
  };
  int64_t k = 0;
  for (; k + 32 <= K; k += 32) step([&](const Bf16* p) { return _mm512_loadu_si512(p + k); });
  if (k < K) {
    const __mmask32 mask = static_cast<__mmask32>((uint64_t{1} << (K - k)) - 1);
    step([&](const Bf16* p) { return _mm512_maskz_loadu_epi16(mask, p + k); });
  }
  for (int m = 0; m < kRows; ++m) {
    if constexpr (kCols == 4) {
      SumFour(acc[m], sums + m * kCols);
    } else {
      for (int n = 0; n < kCols; ++n) sums[m * kCols + n] = Sum(acc[m][n]);
    }
  }
}
#endif

// Calls tile(std-free constant kRows) for the rows of x in blocks of 6, 4, 2 and 1.
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
  for (; n + 4 <= n_end; n += 4) {
    ForRowBlocks(args.M, [&]<int kRows>(int64_t m) {
      float sums[kRows * 4];
      DotTile<kRows, 4>(x + m * args.K, w + n * args.K, args.K, sums);
      StoreTile<kRows, 4, W, Y>(args, m, n, sums);
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
  for (; n + 4 <= n_end; n += 4) {
    ForRowBlocks(args.M, [&]<int kRows>(int64_t m) {
      float sums[kRows * 4];
      DotTileBf16<kRows, 4>(x + m * args.K, w + n * args.K, args.K, sums);
      StoreTile<kRows, 4, Bf16, Bf16>(args, m, n, sums);
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
