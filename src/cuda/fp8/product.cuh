// The FP8 product of Hopper: a persistent kernel of pairs of blocks. A pair makes a tile of kTileRows x 256 of the output: both blocks take the same rows (each
// copies half of them to both, multicast) and 128 columns each. In a block one warp copies operands into a ring of stages, two fetch scales, and two
// warpgroups multiply: 128 values of the sum at a time on the tensor cores (which keep about 14 bits of it), then added with their scales in float32 registers
// (promotion as DeepSeek-V3's report describes it, arXiv 2412.19437, 3.3.2). While one warpgroup promotes the other one multiplies.
#pragma once

#include "cuda/fp8/hopper.cuh"
#include "cuda/fp8/product_copy.cuh"
#include "cuda/fp8/product_store.cuh"
#include "cuda/fp8/product_tiles.cuh"
#include "cuda/launch.cuh"

namespace fathom::cuda {
namespace fp8 {

// The four products of 64 rows and 128 columns over a stage, begun.
__device__ __forceinline__ void BeginStage(float (&part)[64], uint32_t a, uint32_t b) {
  const uint64_t a_matrix = hopper::MatrixDescriptor(a), b_matrix = hopper::MatrixDescriptor(b);
#pragma unroll
  for (int i = 0; i < 64; ++i) hopper::HoldRegister(part[i]);
  hopper::BeginProducts();
#pragma unroll
  for (int i = 0; i < kDepth / 32; ++i) hopper::ProductE4m3(part, a_matrix + i * 2, b_matrix + i * 2, i);
  hopper::CommitProducts();
#pragma unroll
  for (int i = 0; i < 64; ++i) hopper::HoldRegister(part[i]);
}

// Waits until all but the last kPending stages begun are done; `part` is of the last one that is.
template <int kPending>
__device__ __forceinline__ void EndStage(float (&part)[64]) {
  hopper::WaitProducts<kPending>();
#pragma unroll
  for (int i = 0; i < 64; ++i) hopper::HoldRegister(part[i]);
}

// sums += part times the scales of the rows, `low` of the thread's first row and `high` of its second; and of the columns, for wgrad.
template <bool kWgrad>
__device__ __forceinline__ void Promote(float (&sums)[64], const float (&part)[64], float low, float high, const float* column_scales) {
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    float2 column = make_float2(1.0f, 1.0f);
    if constexpr (kWgrad) column = *reinterpret_cast<const float2*>(column_scales + i * 8 + threadIdx.x % 4 * 2);
    sums[i * 4] = fmaf(kWgrad ? low * column.x : low, part[i * 4], sums[i * 4]);
    sums[i * 4 + 1] = fmaf(kWgrad ? low * column.y : low, part[i * 4 + 1], sums[i * 4 + 1]);
    sums[i * 4 + 2] = fmaf(kWgrad ? high * column.x : high, part[i * 4 + 2], sums[i * 4 + 2]);
    sums[i * 4 + 3] = fmaf(kWgrad ? high * column.y : high, part[i * 4 + 3], sums[i * 4 + 3]);
  }
}

// What a warp that multiplies knows of its place.
template <int kTileRows, bool kWgrad>
struct MathWarp {
  using L = Layout<kTileRows, kWgrad>;
  const char* shared;
  uint32_t base;
  int first_row, row;  // of the warpgroup's rows in the tile; of the thread's first row among the 64 of a wave
  int lane;

  __device__ __forceinline__ uint32_t Full(int stage) const { return base + L::kBarriers + stage * 8; }
  __device__ __forceinline__ uint32_t A(int stage, int wave) const { return base + stage * (L::kABytes + L::kBBytes) + (first_row + wave * 64) * kDepth; }
  __device__ __forceinline__ uint32_t B(int stage) const { return base + stage * (L::kABytes + L::kBBytes) + L::kABytes; }
  __device__ __forceinline__ const float* Scales(int stage) const { return reinterpret_cast<const float*>(shared + L::kScale) + stage * L::kScales; }
  // The warp has read what it needs of the stage: both blocks of the pair hear of it.
  __device__ __forceinline__ void Release(int stage) const {
    __syncwarp();
    if (lane < 2) hopper::ArriveAt(Full(stage) + L::kStages * 8, lane);
  }
};

// Tiles of 256 rows: a warpgroup has two waves of 64 rows, one after the other; the tensor cores are kept busy by the other warpgroup.
template <bool kWgrad>
__device__ __forceinline__ void MultiplyTile(float (&sums)[2][64], const MathWarp<256, kWgrad>& warp, Ring<Layout<256, kWgrad>::kStages>& ring, int depth_blocks) {
  for (int b = 0; b < depth_blocks; ++b, ring.Advance()) {
    hopper::Wait(warp.Full(ring.stage), ring.phase);
    const float* scales = warp.Scales(ring.stage);
#pragma unroll
    for (int w = 0; w < 2; ++w) {
      const int row = warp.first_row + w * 64 + warp.row;
      const float low = scales[row], high = scales[row + 8];
      float part[64];
      BeginStage(part, warp.A(ring.stage, w), warp.B(ring.stage));
      EndStage<0>(part);
      if (!kWgrad && w == 1) warp.Release(ring.stage);
      Promote<kWgrad>(sums[w], part, low, high, scales + 256);
      if (kWgrad && w == 1) warp.Release(ring.stage);
    }
  }
}

// Tiles of 128 rows: the products of the next stage run while those of this one are promoted.
template <bool kWgrad>
__device__ __forceinline__ void MultiplyTile(float (&sums)[1][64], const MathWarp<128, kWgrad>& warp, Ring<Layout<128, kWgrad>::kStages>& ring, int depth_blocks) {
  if (depth_blocks == 0) return;
  Ring<Layout<128, kWgrad>::kStages> next = ring;
  const auto begin = [&](float(&part)[64]) {
    hopper::Wait(warp.Full(next.stage), next.phase);
    BeginStage(part, warp.A(next.stage, 0), warp.B(next.stage));
    next.Advance();
  };
  const auto promote = [&](const float(&part)[64]) {
    const float* scales = warp.Scales(ring.stage);
    const int row = warp.first_row + warp.row;
    Promote<kWgrad>(sums[0], part, scales[row], scales[row + 8], scales + 128);
    warp.Release(ring.stage);
    ring.Advance();
  };
  float even[64], odd[64];
  begin(even);
  for (int b = 1; b + 1 < depth_blocks; b += 2) {
    begin(odd);
    EndStage<1>(even);
    promote(even);
    begin(even);
    EndStage<1>(odd);
    promote(odd);
  }
  if (depth_blocks % 2 == 0) {
    begin(odd);
    EndStage<1>(even);
    promote(even);
    EndStage<0>(odd);
    promote(odd);
  } else {
    EndStage<0>(even);
    promote(even);
  }
}

template <int kTileRows, bool kWgrad, typename Out>
__device__ __forceinline__ void Multiply(const Problem& problem, const char* shared, uint32_t base, uint32_t rank, int pair, int pairs) {
  using L = Layout<kTileRows, kWgrad>;
  constexpr int kWaves = kTileRows / 128;  // of 64 rows, a warpgroup
  const int warp_idx = threadIdx.x / 32, lane = threadIdx.x % 32;
  const MathWarp<kTileRows, kWgrad> warp{shared, base, warp_idx / 4 * (kTileRows / 2), warp_idx % 4 * 16 + lane / 4, lane};
  Ring<L::kStages> ring;
  TileWalk<kTileRows, kWgrad> walk(problem, pair, static_cast<int>(rank));
  Tile tile;
  while (walk.Next(pairs, tile)) {
    float sums[kWaves][64];
#pragma unroll
    for (int w = 0; w < kWaves; ++w) {
#pragma unroll
      for (int i = 0; i < 64; ++i) sums[w][i] = 0.0f;
    }
    MultiplyTile(sums, warp, ring, tile.depth_blocks);
    const auto store = [&](const float(&wave)[64], int row) {
      Out* const corner = static_cast<Out*>(problem.out) + tile.out + static_cast<int64_t>(row) * problem.out_columns;
      StoreTile<Out>::Run(wave, corner, problem.out_columns, tile.rows - row, tile.columns, base + L::kStaging + warp_idx * L::kStagingBytes,
                          shared + L::kStaging + warp_idx * L::kStagingBytes);
    };
    const int row = warp.first_row + warp_idx % 4 * 16;
    store(sums[0], row);
    if constexpr (kWaves == 2) store(sums[1], row + 64);
  }
}

template <int kTileRows, bool kWgrad, typename Out>
__global__ __launch_bounds__(kThreads, 1) void ProductKernel(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
                                                             const __grid_constant__ Problem problem) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using L = Layout<kTileRows, kWgrad>;
  extern __shared__ char memory[];
  const uint32_t unaligned = hopper::SharedAddress(memory), base = (unaligned + 1023) / 1024 * 1024;
  char* shared = memory + (base - unaligned);
  const uint32_t rank = hopper::ClusterRank();
  const int pair = blockIdx.x / 2, pairs = gridDim.x / 2, warp = threadIdx.x / 32;
  if (threadIdx.x == 0) {
    hopper::PrefetchMap(&a_map);
    hopper::PrefetchMap(&b_map);
    for (int s = 0; s < L::kStages; ++s) {
      hopper::InitBarrier(base + L::kBarriers + s * 8, 2);                                 // full: the copying thread and the scales' warp
      hopper::InitBarrier(base + L::kBarriers + (L::kStages + s) * 8, 2 * kMathWarps);  // empty: the warps that multiply, of both blocks
    }
    hopper::FenceBarrierInit();
  }
  hopper::ClusterSync();
  LetNextStart();
  WaitForPrevious();
  if (warp >= kMathWarps) {
    hopper::ShrinkRegisters<kCopyRegisters>();
    if (warp == kMathWarps && threadIdx.x % 32 == 0) CopyOperands<kTileRows, kWgrad>(&a_map, &b_map, problem, base, rank, pair, pairs);
    if (warp > kMathWarps && warp <= kMathWarps + kScaleWarps) CopyScales<kTileRows, kWgrad>(problem, shared, base, rank, pair, pairs, warp - kMathWarps - 1);
  } else {
    hopper::GrowRegisters<kMathRegisters>();
    Multiply<kTileRows, kWgrad, Out>(problem, shared, base, rank, pair, pairs);
  }
  __syncwarp();
  hopper::ClusterSync();  // a block's memory must stay until the other one has sent its last arrival
#endif
}

}  // namespace fp8
}  // namespace fathom::cuda
