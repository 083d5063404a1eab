// FlashAttention-2's forward (arXiv 2307.08691) on mma.sync, for packed and paged keys. A block takes 64 * kRowTiles rows of one key head: row r
// of a sequence is query r / group, head r % group of the group of query heads that share the key head, so that decoding reads each key once.
#pragma once

#include <math_constants.h>

#include "cuda/attention/attention_kernel.h"
#include "cuda/attention/sequence.cuh"
#include "cuda/launch.cuh"
#include "cuda/mma.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda::flash {

constexpr int kThreads = 128;
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

// Each of the four warps has kRowTiles times 16 rows: two make the most of what is read from shared memory, one wastes less on short sequences.
template <int DK, int DV, int kRowTiles>
struct Shape {
  static constexpr int kRows = 64 * kRowTiles;
  static constexpr int kKeys = kRowTiles == 2 && DV > 64 ? 32 : 64;  // what the registers allow
  // Rows padded by 16 bytes: the eight rows that ldmatrix reads lie in different banks.
  static constexpr int kKPitch = DK + 8, kVPitch = DV + 8;
  static constexpr int kBytes = (kRows * kKPitch + 2 * kKeys * (kKPitch + kVPitch)) * 2;
};

// Rows first .. first + kKeys - 1 of the sequence's keys (or values); `tile` is where the first lies when all of them follow it, else null.
template <typename T, int D, int kPitch, int kKeys>
__device__ __forceinline__ void CopyKeys(const AttentionParams& p, const KeyLayout& layout, const Sequence& sequence, int kv_head, int first, int end,
                                         const T* tile, T* shared) {
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = 0; i < kKeys * kChunks / kThreads; ++i) {
    const int index = i * kThreads + threadIdx.x, row = index / kChunks, chunk = index % kChunks;
    const bool valid = first + row < end;
    const T* source = static_cast<const T*>(layout.base);
    if (valid) source = (tile != nullptr ? tile + row * layout.row_stride : KeyRow<T>(p, layout, sequence, first + row, kv_head)) + chunk * 8;
    CopyAsync16(SharedAddress(shared + row * kPitch + chunk * 8), source, valid);
  }
}

template <typename T, int DK, int DV, int kRowTiles>
__global__ __launch_bounds__(kThreads, 2) void FlashKernel(AttentionParams p) {
  using S = Shape<DK, DV, kRowTiles>;
  constexpr int kRows = S::kRows, kKeys = S::kKeys;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ RowTileOf shared_tile;
  LetNextStart();
  WaitForPrevious();
  T* q_shared = reinterpret_cast<T*>(memory);
  T* k_shared = q_shared + kRows * S::kKPitch;
  T* v_shared = k_shared + 2 * kKeys * S::kKPitch;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int group = p.heads / p.kv_heads, kv_head = blockIdx.y;
  if (warp == 0) {
    // The last tiles of a sequence see the most keys: they start first.
    const RowTileOf tile = FindRowTile<kRows>(p, group, static_cast<int>(gridDim.x - 1 - blockIdx.x));
    if (lane == 0) shared_tile = tile;
  }
  __syncthreads();
  const RowTileOf tile = shared_tile;
  if (tile.sequence < 0) return;
  const Sequence sequence = SequenceAt(p, tile.sequence);
  const int total_rows = sequence.num_queries * group, last_row = min(total_rows, tile.first_row + kRows) - 1;
  int key_begin, key_end, unused;
  VisibleRange(p, sequence, tile.first_row / group, key_begin, unused);
  VisibleRange(p, sequence, last_row / group, unused, key_end);
  key_begin = key_begin / kKeys * kKeys;
  const int all_tiles = max(0, (key_end - key_begin + kKeys - 1) / kKeys);
  const int split_tiles = (all_tiles + p.num_splits - 1) / p.num_splits;
  const int tile_begin = min(all_tiles, static_cast<int>(blockIdx.z) * split_tiles), tile_end = min(all_tiles, tile_begin + split_tiles);

  const bool together = p.page_table == nullptr || p.page_size % kKeys == 0;  // a tile's rows follow one another
  const auto start_copy = [&](int n) {
    const int first = key_begin + n * kKeys, stage = n % 2;
    const T* k_tile = together ? KeyRow<T>(p, p.k, sequence, first, kv_head) : nullptr;
    const T* v_tile = together ? KeyRow<T>(p, p.v, sequence, first, kv_head) : nullptr;
    CopyKeys<T, DK, S::kKPitch, kKeys>(p, p.k, sequence, kv_head, first, key_end, k_tile, k_shared + stage * kKeys * S::kKPitch);
    CopyKeys<T, DV, S::kVPitch, kKeys>(p, p.v, sequence, kv_head, first, key_end, v_tile, v_shared + stage * kKeys * S::kVPitch);
  };
#pragma unroll
  for (int i = 0; i < kRows * (DK / 8) / kThreads; ++i) {
    const int index = i * kThreads + threadIdx.x, row = index / (DK / 8), chunk = index % (DK / 8);
    const int r = tile.first_row + row;
    const bool valid = r < total_rows;
    const T* source = static_cast<const T*>(p.q);
    if (valid) source += (sequence.query_begin + r / group) * p.q_token_stride + (kv_head * group + r % group) * p.q_head_stride + chunk * 8;
    CopyAsync16(SharedAddress(q_shared + row * S::kKPitch + chunk * 8), source, valid);
  }
  if (tile_begin < tile_end) start_copy(tile_begin);
  CopyAsyncCommit();

  // This lane's rows g and g + 8 of each of the warp's sixteens: row m * 64 + warp * 16 + g + half * 8 of the tile.
  const auto row_of = [&](int m, int half) { return tile.first_row + m * 64 + warp * 16 + g + half * 8; };
  int visible_begin[kRowTiles][2], visible_end[kRowTiles][2];
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      VisibleRange(p, sequence, row_of(m, half) / group, visible_begin[m][half], visible_end[m][half]);
      if (row_of(m, half) >= total_rows) visible_end[m][half] = 0;
    }
  }
  const float scale = p.scale * kLog2E;
  float out[kRowTiles][DV / 8][4] = {};
  float top[kRowTiles][2], total[kRowTiles][2] = {};
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) top[m][0] = top[m][1] = -CUDART_INF_F;
  const uint32_t q_address = SharedAddress(q_shared + (warp * 16 + lane % 16) * S::kKPitch + lane / 16 * 8);
  const uint32_t k_address = SharedAddress(k_shared + (lane / 16 * 8 + lane % 8) * S::kKPitch + lane / 8 % 2 * 8);
  const uint32_t v_address = SharedAddress(v_shared + (lane / 8 % 2 * 8 + lane % 8) * S::kVPitch + lane / 16 * 8);

  for (int n = tile_begin; n < tile_end; ++n) {
    CopyAsyncWait<0>();
    __syncthreads();
    if (n + 1 < tile_end) start_copy(n + 1);
    CopyAsyncCommit();
    const uint32_t keys = k_address + n % 2 * kKeys * S::kKPitch * 2, values = v_address + n % 2 * kKeys * S::kVPitch * 2;
    float scores[kRowTiles][kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < DK / 16; ++k) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) LoadMatrix4(a[m], q_address + (m * 64 * S::kKPitch + k * 16) * 2);
#pragma unroll
      for (int pair = 0; pair < kKeys / 16; ++pair) {
        uint32_t b[4];
        LoadMatrix4(b, keys + (pair * 16 * S::kKPitch + k * 16) * 2);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          Mma<T>(scores[m][2 * pair], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          Mma<T>(scores[m][2 * pair + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
    const int first_key = key_begin + n * kKeys;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const bool all_visible =
          first_key >= max(visible_begin[m][0], visible_begin[m][1]) && first_key + kKeys <= min(visible_end[m][0], visible_end[m][1]);
      if (!__all_sync(0xffffffffu, all_visible)) {
#pragma unroll
        for (int i = 0; i < kKeys / 8; ++i) {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const int key = first_key + i * 8 + 2 * t + c % 2, half = c / 2;
            if (key < visible_begin[m][half] || key >= visible_end[m][half]) scores[m][i][c] = -CUDART_INF_F;
          }
        }
      }
      float base[2] = {top[m][0], top[m][1]}, shrink[2];
#pragma unroll
      for (int i = 0; i < kKeys / 8; ++i) {
#pragma unroll
        for (int c = 0; c < 4; ++c) base[c / 2] = fmaxf(base[c / 2], scores[m][i][c] * scale);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        base[half] = fmaxf(base[half], __shfl_xor_sync(0xffffffffu, base[half], 1));
        base[half] = fmaxf(base[half], __shfl_xor_sync(0xffffffffu, base[half], 2));
        const float new_top = base[half];
        if (new_top == -CUDART_INF_F) base[half] = 0.0f;
        shrink[half] = exp2f(top[m][half] - base[half]);
        top[m][half] = new_top;
        total[m][half] *= shrink[half];
      }
#pragma unroll
      for (int i = 0; i < kKeys / 8; ++i) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          scores[m][i][c] = exp2f(fmaf(scores[m][i][c], scale, -base[c / 2]));
          total[m][c / 2] += scores[m][i][c];
        }
      }
#pragma unroll
      for (int i = 0; i < DV / 8; ++i) {
#pragma unroll
        for (int c = 0; c < 4; ++c) out[m][i][c] *= shrink[c / 2];
      }
    }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        a[m][0] = PackPair<T>(scores[m][2 * k][0], scores[m][2 * k][1]);
        a[m][1] = PackPair<T>(scores[m][2 * k][2], scores[m][2 * k][3]);
        a[m][2] = PackPair<T>(scores[m][2 * k + 1][0], scores[m][2 * k + 1][1]);
        a[m][3] = PackPair<T>(scores[m][2 * k + 1][2], scores[m][2 * k + 1][3]);
      }
#pragma unroll
      for (int pair = 0; pair < DV / 16; ++pair) {
        uint32_t b[4];
        LoadMatrix4Transposed(b, values + (k * 16 * S::kVPitch + pair * 16) * 2);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          Mma<T>(out[m][2 * pair], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          Mma<T>(out[m][2 * pair + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
  }
  CopyAsyncWait<0>();
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = total[m][half];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const int r = row_of(m, half);
      if (r >= total_rows) continue;
      const int64_t item = static_cast<int64_t>(sequence.query_begin + r / group) * p.heads + kv_head * group + r % group;
      const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
      const float lse = sum > 0.0f ? top[m][half] + log2f(sum) : -CUDART_INF_F;
      if (p.num_splits > 1) {
        float* place = p.partial_out + (static_cast<int64_t>(blockIdx.z) * p.tokens * p.heads + item) * DV;
#pragma unroll
        for (int i = 0; i < DV / 8; ++i)
          *reinterpret_cast<float2*>(place + i * 8 + 2 * t) = make_float2(out[m][i][2 * half] * inverse, out[m][i][2 * half + 1] * inverse);
        if (t == 0) p.partial_lse[item * p.num_splits + blockIdx.z] = lse;
      } else {
        T* place = static_cast<T*>(p.out) + item * DV;
#pragma unroll
        for (int i = 0; i < DV / 8; ++i)
          *reinterpret_cast<uint32_t*>(place + i * 8 + 2 * t) = PackPair<T>(out[m][i][2 * half] * inverse, out[m][i][2 * half + 1] * inverse);
        if (t == 0 && p.lse != nullptr) p.lse[item] = lse * kLn2;
      }
    }
  }
}

template <typename T, int DK, int DV, int kRowTiles>
void LaunchTiles(const AttentionParams& p, cudaStream_t stream) {
  using S = Shape<DK, DV, kRowTiles>;
  cudaFuncSetAttribute(FlashKernel<T, DK, DV, kRowTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kBytes);
  const int group = p.heads / p.kv_heads;
  // No more tiles than this, whatever the lengths: the host does not know them.
  const unsigned tiles = static_cast<unsigned>(static_cast<int64_t>(p.tokens) * group / S::kRows + p.batch);
  LaunchKernel(FlashKernel<T, DK, DV, kRowTiles>, dim3(tiles, p.kv_heads, p.num_splits), kThreads, S::kBytes, stream, p);
}

template <typename T, int DK, int DV>
void Launch(const AttentionParams& p, cudaStream_t stream) {
  // Large tiles once they fill a device, and are mostly full.
  const int64_t rows = static_cast<int64_t>(p.tokens) * (p.heads / p.kv_heads);
  const bool large = p.num_splits == 1 && rows / 128 * p.kv_heads >= 128 && rows / p.batch >= 256;
  large ? LaunchTiles<T, DK, DV, 2>(p, stream) : LaunchTiles<T, DK, DV, 1>(p, stream);
}

template <typename T>
void LaunchShape(const AttentionParams& p, cudaStream_t stream) {
  if (p.dk == 64) return Launch<T, 64, 64>(p, stream);
  if (p.dk == 128) return Launch<T, 128, 128>(p, stream);
  Launch<T, 192, 128>(p, stream);
}

}  // namespace fathom::cuda::flash
