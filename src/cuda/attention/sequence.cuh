// Which sequence a query belongs to, which keys it sees, and where they lie.
#pragma once

#include "cuda/attention/attention_kernel.h"

namespace fathom::cuda {

struct Sequence {
  int index = 0;       // b
  int query_begin = 0, num_queries = 0;
  int key_begin = 0, num_keys = 0;  // key_begin: packed rows only
};

__device__ __forceinline__ Sequence SequenceAt(const AttentionParams& p, int b) {
  Sequence sequence;
  sequence.index = b;
  sequence.query_begin = p.cu_q[b];
  sequence.num_queries = p.cu_q[b + 1] - sequence.query_begin;
  sequence.key_begin = p.page_table == nullptr ? p.cu_k[b] : 0;
  sequence.num_keys = p.page_table == nullptr ? p.cu_k[b + 1] - sequence.key_begin : p.kv_lens[b];
  return sequence;
}

// The sequence of packed row `row` under limits cu [batch + 1], by one whole warp; -1 where none has it.
__device__ __forceinline__ int FindSequence(const int32_t* cu, int batch, int row) {
  const int lane = threadIdx.x % 32;
  for (int base = 0; base < batch; base += 32) {
    const int b = base + lane;
    const unsigned found = __ballot_sync(0xffffffffu, b < batch && cu[b] <= row && row < cu[b + 1]);
    if (found != 0) return base + __ffs(found) - 1;
  }
  return -1;
}

// Rows of queries, `group` a token, in tiles of kRows that hold one sequence's each.
struct RowTileOf {
  int sequence, first_row;
};

// The tile-th of all sequences, by a whole warp; sequence -1: there are fewer.
template <int kRows>
__device__ __forceinline__ RowTileOf FindRowTile(const AttentionParams& p, int group, int tile) {
  constexpr int kEach = 4;  // sequences a lane: their limits are fetched together
  const int lane = threadIdx.x % 32;
  int before = 0;
  for (int base = 0; base < p.batch; base += 32 * kEach) {
    int limits[kEach + 1], tiles[kEach], sum = 0;
#pragma unroll
    for (int i = 0; i <= kEach; ++i) limits[i] = p.cu_q[min(base + lane * kEach + i, p.batch)];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      tiles[i] = ((limits[i + 1] - limits[i]) * group + kRows - 1) / kRows;
      sum += tiles[i];
    }
    int inclusive = sum;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, inclusive, offset);
      if (lane >= offset) inclusive += other;
    }
    int within = tile - before - inclusive + sum;
    const unsigned found = __ballot_sync(0xffffffffu, within >= 0 && within < sum);
    if (found != 0) {
      int sequence = base + lane * kEach;
      bool passed = true;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        passed = passed && within >= tiles[i];
        within -= passed ? tiles[i] : 0;
        sequence += passed;
      }
      const int owner = __ffs(found) - 1;
      return {__shfl_sync(0xffffffffu, sequence, owner), __shfl_sync(0xffffffffu, within, owner) * kRows};
    }
    before += __shfl_sync(0xffffffffu, inclusive, 31);
  }
  return {-1, 0};
}

// How many there are, by a whole warp.
template <int kRows>
__device__ __forceinline__ int CountRowTiles(const AttentionParams& p, int group) {
  int tiles = 0;
  for (int b = threadIdx.x % 32; b < p.batch; b += 32) tiles += ((p.cu_q[b + 1] - p.cu_q[b]) * group + kRows - 1) / kRows;
  return __reduce_add_sync(0xffffffffu, tiles);
}

template <typename T>
__device__ __forceinline__ const T* KeyRow(const AttentionParams& p, const KeyLayout& layout, const Sequence& sequence, int j, int head) {
  const T* base = static_cast<const T*>(layout.base) + head * layout.head_stride;
  if (p.page_table == nullptr) return base + static_cast<int64_t>(sequence.key_begin + j) * layout.row_stride;
  const int32_t page = p.page_table[static_cast<int64_t>(sequence.index) * p.max_pages + j / p.page_size];
  return base + page * layout.page_stride + (j % p.page_size) * layout.row_stride;
}

// Query i sees keys [begin, end) of its sequence.
__device__ __forceinline__ void VisibleRange(const AttentionParams& p, const Sequence& sequence, int i, int& begin, int& end) {
  const int last = i + sequence.num_keys - sequence.num_queries;
  end = max(0, last + 1);
  begin = p.window >= 0 ? max(0, last - p.window + 1) : 0;
}

}  // namespace fathom::cuda
