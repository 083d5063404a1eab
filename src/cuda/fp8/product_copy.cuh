// The warps of the FP8 product that fetch: operands through the tensor copy engine, scales through registers.
#pragma once

#include "cuda/fp8/hopper.cuh"
#include "cuda/fp8/product_tiles.cuh"

namespace fathom::cuda {
namespace fp8 {

template <int kTileRows, bool kWgrad>
__device__ __forceinline__ void CopyOperands(const CUtensorMap* a_map, const CUtensorMap* b_map, const Problem& problem, uint32_t base, uint32_t rank, int pair,
                                             int pairs) {
  using L = Layout<kTileRows, kWgrad>;
  constexpr int kHalf = kTileRows / 2;
  Ring<L::kStages> ring;
  TileWalk<kTileRows, kWgrad> walk(problem, pair, static_cast<int>(rank));
  Tile tile;
  while (walk.Next(pairs, tile)) {
    for (int b = 0; b < tile.depth_blocks; ++b, ring.Advance()) {
      const uint32_t full = base + L::kBarriers + ring.stage * 8, empty = full + L::kStages * 8;
      hopper::Wait(empty, ring.phase ^ 1);
      const uint32_t a = base + ring.stage * (L::kABytes + L::kBBytes);
      hopper::ArriveExpecting(full, L::kABytes + L::kBBytes);
      const int x = kWgrad ? 0 : b * kDepth;
      hopper::CopyBoxToAll(a + rank * kHalf * kDepth, a_map, full, x, tile.a_y + static_cast<int>(rank) * kHalf + (kWgrad ? b * problem.out_rows : 0), 3);
      hopper::CopyBox(a + L::kABytes, b_map, full, x, tile.b_y + (kWgrad ? b * problem.out_columns : 0));
    }
  }
}

// One of two warps: `parity` chooses the blocks of the sum. A stage's scales are a's (forward: times the weight block's), then for wgrad x's.
template <int kTileRows, bool kWgrad>
__device__ __forceinline__ void CopyScales(const Problem& problem, char* shared, uint32_t base, uint32_t rank, int pair, int pairs, int parity) {
  using L = Layout<kTileRows, kWgrad>;
  const int lane = threadIdx.x % 32;
  Ring<L::kStages> ring;
  TileWalk<kTileRows, kWgrad> walk(problem, pair, static_cast<int>(rank));
  Tile tile;
  int turn = 0;
  const int a_step = kWgrad ? problem.out_rows : problem.rows;
  while (walk.Next(pairs, tile)) {
    for (int b = 0; b < tile.depth_blocks; ++b, ring.Advance(), turn ^= 1) {
      if (turn != parity) continue;
      float a_scale[kTileRows / 32], b_scale[kWgrad ? kTileColumns / 32 : 1];
      const float* source = tile.a_scale + static_cast<int64_t>(b) * a_step;
#pragma unroll
      for (int i = 0; i < kTileRows / 32; ++i) a_scale[i] = i * 32 + lane < tile.rows ? __ldg(source + i * 32 + lane) : 0.0f;
      if constexpr (kWgrad) {
        const float* columns = tile.b_scale + static_cast<int64_t>(b) * problem.out_columns;
#pragma unroll
        for (int i = 0; i < kTileColumns / 32; ++i) b_scale[i] = i * 32 + lane < tile.columns ? __ldg(columns + i * 32 + lane) : 0.0f;
      } else {
        b_scale[0] = __ldg(tile.b_scale + b);
      }
      const uint32_t full = base + L::kBarriers + ring.stage * 8, empty = full + L::kStages * 8;
      hopper::Wait(empty, ring.phase ^ 1);
      float* scales = reinterpret_cast<float*>(shared + L::kScale) + ring.stage * L::kScales;
#pragma unroll
      for (int i = 0; i < kTileRows / 32; ++i) scales[i * 32 + lane] = kWgrad ? a_scale[i] : a_scale[i] * b_scale[0];
      if constexpr (kWgrad) {
#pragma unroll
        for (int i = 0; i < kTileColumns / 32; ++i) scales[kTileRows + i * 32 + lane] = b_scale[i];
      }
      __syncwarp();
      if (lane == 0) hopper::Arrive(full);
    }
  }
}

}  // namespace fp8
}  // namespace fathom::cuda
