#include "cuda/experts/mix_experts_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/linear/row_products.cuh"

namespace fathom::cuda {
namespace {

constexpr int kInnerTile = 8;  // values of swiglu a block: as many rows of gate, and of up

// What a block of the first launch makes: values f0 .. f0 + 7 of swiglu(w x) for num_x rows of x.
template <typename T>
struct InnerTile {
  const T* x;
  const T* w;  // [2 f, d]
  T* y;
  int num_x, f0, f;
};

// Blocks of the shared experts come first: their weights are known before the choices are.
template <typename T>
__device__ __forceinline__ InnerTile<T> TileOfBlock(const MixExpertsParams& p, bool choices_are_known) {
  const int shared_tiles = (p.s + kInnerTile - 1) / kInnerTile, tiles = (p.f + kInnerTile - 1) / kInnerTile;
  const int block = blockIdx.x;
  if (block < shared_tiles) {
    return {static_cast<const T*>(p.x), static_cast<const T*>(p.shared_gate_up), static_cast<T*>(p.shared_inner), p.tokens, block * kInnerTile, p.s};
  }
  const int choice = (block - shared_tiles) / tiles, f0 = (block - shared_tiles) % tiles * kInnerTile;
  if (!choices_are_known) return {nullptr, nullptr, nullptr, 0, 0, 0};
  const int64_t expert = p.topk_idx[choice];
  return {static_cast<const T*>(p.x) + static_cast<int64_t>(choice / p.top_k) * p.d, static_cast<const T*>(p.gate_up) + expert * 2 * p.f * p.d,
          static_cast<T*>(p.inner) + static_cast<int64_t>(choice) * p.f, 1, f0, p.f};
}

template <typename T>
__global__ __launch_bounds__(kRowProductWarps * 32, 2) void InnerKernel(MixExpertsParams p) {
  __shared__ float partial[kRowProductWarps][8][kRowProductTile + 1];
  if (const InnerTile<T> early = TileOfBlock<T>(p, false); early.w != nullptr && threadIdx.x < 2 * kInnerTile) {
    const int row = early.f0 + static_cast<int>(threadIdx.x) % kInnerTile;
    if (row < early.f) PrefetchToL2(early.w + (static_cast<int64_t>(threadIdx.x) / kInnerTile * early.f + row) * p.d, p.d * static_cast<int>(sizeof(T)));
  }
  WaitForPrevious();
  LetNextStart();  // after the wait: the next kernel looks at the choices before its own
  const InnerTile<T> tile = TileOfBlock<T>(p, true);
  const int row = tile.f0 + static_cast<int>(threadIdx.x) % 32 / 4;
  const bool valid = row < tile.f;
  const T* gate = tile.w + static_cast<int64_t>(row) * p.d;
  float sums[1][4] = {};
  AddRowPairProducts<T, 1, true>(tile.x, p.d, tile.num_x, gate, valid, gate + static_cast<int64_t>(tile.f) * p.d, valid, p.d, sums, threadIdx.x / 32,
                                 kRowProductWarps);
  AddSlices<1>(sums, partial);
  const int column = threadIdx.x / kInnerTile, at = threadIdx.x % kInnerTile;
  if (column < tile.num_x && tile.f0 + at < tile.f) {
    const float g = ToFloat(FromFloat<T>(partial[0][column][at])), up = ToFloat(FromFloat<T>(partial[0][column][at + kInnerTile]));
    const float silu = ToFloat(FromFloat<T>(g / (1.0f + expf(-g))));
    tile.y[static_cast<int64_t>(column) * tile.f + tile.f0 + at] = FromFloat<T>(silu * up);
  }
}

constexpr int kOuterGroups = 2, kOuterWarps = kOuterGroups * kRowProductWarps;

// Block (tile of d, token): the products of its 16 rows of every chosen expert's down and of the shared one's, added up. The block's groups of
// warps take the choices in turn, and the shared one together.
template <typename T>
__global__ __launch_bounds__(kOuterWarps * 32, 1) void OuterKernel(MixExpertsParams p) {
  __shared__ float partial[kOuterWarps][8][kRowProductTile + 1];
  const int n0 = blockIdx.x * kRowProductTile, token = blockIdx.y;
  const int32_t* chosen = p.topk_idx + static_cast<int64_t>(token) * p.top_k;
  const T* down = static_cast<const T*>(p.down);
  const int64_t size = static_cast<int64_t>(p.d) * p.f;
  LetNextStart();
  for (int i = threadIdx.x; i < (p.top_k + 1) * kRowProductTile; i += blockDim.x) {
    const int k = i / kRowProductTile, row = n0 + i % kRowProductTile;
    if (row >= p.d) continue;
    if (k < p.top_k) {
      // The choices are older than the kernel before; should they not be there yet, this is a hint for nothing.
      const int64_t expert = min(max(*const_cast<const volatile int32_t*>(chosen + k), 0), p.experts - 1);
      PrefetchToL2(down + expert * size + static_cast<int64_t>(row) * p.f, p.f * static_cast<int>(sizeof(T)));
    } else if (p.s > 0) {
      PrefetchToL2(static_cast<const T*>(p.shared_down) + static_cast<int64_t>(row) * p.s, p.s * static_cast<int>(sizeof(T)));
    }
  }
  WaitForPrevious();
  const int low = n0 + static_cast<int>(threadIdx.x) % 32 / 4, high = low + 8;
  const T* inner = static_cast<const T*>(p.inner) + static_cast<int64_t>(token) * p.top_k * p.f;
  float total[1][4] = {};
  const int warp = threadIdx.x / 32;
  for (int k = warp / kRowProductWarps; k < p.top_k; k += kOuterGroups) {
    const T* w = down + chosen[k] * size;
    const float weight = p.weights[static_cast<int64_t>(token) * p.top_k + k];
    float sums[1][4] = {};
    AddRowPairProducts<T, 1, true>(inner + static_cast<int64_t>(k) * p.f, p.f, 1, w + static_cast<int64_t>(low) * p.f, low < p.d,
                                   w + static_cast<int64_t>(high) * p.f, high < p.d, p.f, sums, warp % kRowProductWarps, kRowProductWarps);
#pragma unroll
    for (int i = 0; i < 4; ++i) total[0][i] = fmaf(weight, sums[0][i], total[0][i]);
  }
  if (p.s > 0) {
    const T* w = static_cast<const T*>(p.shared_down);
    AddRowPairProducts<T, 1, true>(static_cast<const T*>(p.shared_inner) + static_cast<int64_t>(token) * p.s, p.s, 1, w + static_cast<int64_t>(low) * p.s,
                                   low < p.d, w + static_cast<int64_t>(high) * p.s, high < p.d, p.s, total, warp, kOuterWarps);
  }
  AddSlices<1, kOuterWarps>(total, partial);
  if (threadIdx.x < kRowProductTile && n0 + threadIdx.x < p.d)
    static_cast<T*>(p.y)[static_cast<int64_t>(token) * p.d + n0 + threadIdx.x] = FromFloat<T>(partial[0][0][threadIdx.x]);
}

template <typename T>
void Launch(const MixExpertsParams& p, cudaStream_t stream) {
  const auto tiles = [](int n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const unsigned inner_blocks = tiles(p.s, kInnerTile) + static_cast<unsigned>(p.tokens * p.top_k) * tiles(p.f, kInnerTile);
  LaunchKernel(InnerKernel<T>, inner_blocks, kRowProductWarps * 32, 0, stream, p);
  LaunchKernel(OuterKernel<T>, dim3(tiles(p.d, kRowProductTile), p.tokens), kOuterWarps * 32, 0, stream, p);
}

}  // namespace

void LaunchMixExperts(const MixExpertsParams& p, cudaStream_t stream) {
  p.dtype == Dtype::kBf16 ? Launch<__nv_bfloat16>(p, stream) : Launch<__half>(p, stream);
}

}  // namespace fathom::cuda
