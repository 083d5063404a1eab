// FlashAttention-3's forward (arXiv 2407.08608) on Hopper's warpgroup products, for packed and paged keys. A block takes 128 queries of one head, 64 a
// warpgroup, and walks their keys in tiles of 128 from the last to the first; a warpgroup's softmax of one tile runs beside its product with the values of
// the tile before. A third warpgroup's warp fetches by bulk copies and hands out the work: blocks stay and take the next tile of queries as they finish.
#pragma once

#include <math_constants.h>

#include "cuda/attention/attention_kernel.h"
#include "cuda/attention/choose_kernel.h"
#include "cuda/attention/sequence.cuh"
#include "cuda/launch.cuh"
#include "cuda/mma.cuh"
#include "cuda/scalar.cuh"
#include "cuda/tensor_map.h"
#include "cuda/tma.cuh"
#include "cuda/wgmma.cuh"

namespace fathom::cuda::flash_wgmma {

constexpr int kRows = 128, kKeys = 128, kThreads = 384, kConsumers = 256, kStages = 2;
constexpr int kPieceBytes = 128 * 128, kBoxBytes = kPieceBytes / 2;  // a piece: 128 rows of 64 values, two boxes
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

// How the work is shared out: tiles of queries of `together` heads side by side, the last tile first, then the next heads.
struct Schedule {
  int together;
  int32_t* counter;  // zero before the launch
};

struct Maps {
  CUtensorMap q, k, v;
};

struct Assignment {
  int sequence, first_row, head, unused;  // sequence -1: no more
};

template <int DK, int DV>
struct Layout {
  static constexpr int kQueries = 0, kKeysAt = DK / 64 * kPieceBytes, kValuesAt = kKeysAt + kStages * (DK / 64) * kPieceBytes;
  static constexpr int kBarriers = kValuesAt + kStages * (DV / 64) * kPieceBytes;
  static constexpr int kNumBarriers = 2 + 4 * kStages + 4;
  static constexpr int kAssignments = kBarriers + kNumBarriers * 8 + 16 - kNumBarriers * 8 % 16;
  static constexpr int kBytes = kAssignments + 2 * static_cast<int>(sizeof(Assignment)) + 1024;  // the base is rounded up to a multiple of 1024
};

// Addresses in shared memory.
template <int DK, int DV>
struct Places {
  using L = Layout<DK, DV>;
  uint32_t base;
  __device__ uint32_t Queries(int piece) const { return base + L::kQueries + piece * kPieceBytes; }
  __device__ uint32_t Keys(int stage, int piece) const { return base + L::kKeysAt + (stage * (DK / 64) + piece) * kPieceBytes; }
  __device__ uint32_t Values(int stage, int piece) const { return base + L::kValuesAt + (stage * (DV / 64) + piece) * kPieceBytes; }
  __device__ uint32_t Barrier(int number) const { return base + L::kBarriers + number * 8; }
  __device__ uint32_t QueriesFull() const { return Barrier(0); }
  __device__ uint32_t QueriesEmpty() const { return Barrier(1); }
  __device__ uint32_t KeysFull(int stage) const { return Barrier(2 + stage); }
  __device__ uint32_t KeysEmpty(int stage) const { return Barrier(4 + stage); }
  __device__ uint32_t ValuesFull(int stage) const { return Barrier(6 + stage); }
  __device__ uint32_t ValuesEmpty(int stage) const { return Barrier(8 + stage); }
  __device__ uint32_t WorkFull(int slot) const { return Barrier(10 + slot); }
  __device__ uint32_t WorkEmpty(int slot) const { return Barrier(12 + slot); }
};

// Tiles of keys [begin, end) that a tile of queries sees; at least one, so that every tile of queries has a first.
struct KeyTiles {
  int begin, end;
};
__device__ __forceinline__ KeyTiles VisibleTiles(const AttentionParams& p, const Sequence& sequence, int first_row) {
  const int last_row = min(sequence.num_queries, first_row + kRows) - 1;
  int key_begin, key_end, unused;
  VisibleRange(p, sequence, first_row, key_begin, unused);
  VisibleRange(p, sequence, last_row, unused, key_end);
  const int end = max(1, (key_end + kKeys - 1) / kKeys);
  return {min(key_begin / kKeys, end - 1), end};
}

// A stage and the parity of its uses.
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Next() {
    stage ^= 1;
    parity ^= stage == 0;
  }
};

// One warp: hands out tiles of queries and fetches what they need.
template <int DK, int DV>
__device__ __forceinline__ void Produce(const AttentionParams& p, const Schedule& schedule, const Maps& maps, const Places<DK, DV>& at,
                                        Assignment* assignments) {
  const int lane = threadIdx.x % 32;
  const int tiles = CountRowTiles<kRows>(p, 1), all = tiles * p.heads, a_section = tiles * schedule.together;
  Turn turn, slot;
  uint32_t queries_parity = 1;
  for (int number = blockIdx.x;; queries_parity ^= 1) {
    WaitBarrier(at.WorkEmpty(slot.stage), slot.parity ^ 1);
    if (number >= all) {
      if (lane == 0) {
        assignments[slot.stage].sequence = -1;
        Arrive(at.WorkFull(slot.stage));
      }
      return;
    }
    const int section = number / a_section, within = number % a_section;
    const RowTileOf tile = FindRowTile<kRows>(p, 1, tiles - 1 - within / schedule.together);
    const int head = section * schedule.together + within % schedule.together, kv_head = head / (p.heads / p.kv_heads);
    int next = 0;
    if (lane == 0) {
      assignments[slot.stage] = {tile.sequence, tile.first_row, head, 0};
      Arrive(at.WorkFull(slot.stage));
      next = static_cast<int>(gridDim.x) + atomicAdd(schedule.counter, 1);
      const Sequence sequence = SequenceAt(p, tile.sequence);
      WaitBarrier(at.QueriesEmpty(), queries_parity);
      ExpectBytes(at.QueriesFull(), DK / 64 * kPieceBytes);
#pragma unroll
      for (int i = 0; i < DK / 64 * 2; ++i)
        CopyBox(at.Queries(i / 2) + i % 2 * kBoxBytes, &maps.q, at.QueriesFull(), i / 2 * 64, head, sequence.query_begin + tile.first_row + i % 2 * 64, 0);
      const KeyTiles keys = VisibleTiles(p, sequence, tile.first_row);
      const int32_t* table = p.page_table == nullptr ? nullptr : p.page_table + static_cast<int64_t>(sequence.index) * p.max_pages;
      for (int n = keys.end - 1; n >= keys.begin; --n) {
        // The second box of a tile may lie past the last page; the first never does.
        const int boxes = table != nullptr && n * kKeys + 64 >= sequence.num_keys ? 1 : 2;
        int row[2], page[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int key = n * kKeys + i * 64;
          row[i] = table == nullptr ? sequence.key_begin + key : key % p.page_size;
          if (table != nullptr && i < boxes) page[i] = table[key / p.page_size];
        }
        WaitBarrier(at.KeysEmpty(turn.stage), turn.parity ^ 1);
        ExpectBytes(at.KeysFull(turn.stage), DK / 64 * kBoxBytes * boxes);
        for (int i = 0; i < boxes; ++i) {
#pragma unroll
          for (int piece = 0; piece < DK / 64; ++piece)
            CopyBox(at.Keys(turn.stage, piece) + i * kBoxBytes, &maps.k, at.KeysFull(turn.stage), piece * 64, kv_head, row[i], page[i]);
        }
        WaitBarrier(at.ValuesEmpty(turn.stage), turn.parity ^ 1);
        ExpectBytes(at.ValuesFull(turn.stage), DV / 64 * kBoxBytes * boxes);
        for (int i = 0; i < boxes; ++i) {
#pragma unroll
          for (int piece = 0; piece < DV / 64; ++piece)
            CopyBox(at.Values(turn.stage, piece) + i * kBoxBytes, &maps.v, at.ValuesFull(turn.stage), piece * 64, kv_head, row[i], page[i]);
        }
        turn.Next();
      }
    }
    number = __shfl_sync(0xffffffffu, next, 0);
    slot.Next();
  }
}

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The online softmax of a thread's two rows. `top` is the largest score so far times the scale (base 2), `total` this lane's part of the sum.
struct Softmax {
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f}, shrink[2];
  __device__ __forceinline__ void Add(float (&scores)[64], float scale) {
    float most[2] = {scores[0], scores[2]};
#pragma unroll
    for (int i = 0; i < 64; ++i) most[i % 4 / 2] = fmaxf(most[i % 4 / 2], scores[i]);
    float base[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 1));
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 2));
      most[half] = fmaxf(most[half] * scale, top[half]);
      base[half] = most[half] == -CUDART_INF_F ? 0.0f : most[half];
      shrink[half] = Exp2(top[half] - base[half]);
      top[half] = most[half];
      total[half] *= shrink[half];
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      scores[i] = Exp2(fmaf(scores[i], scale, -base[i % 4 / 2]));
      total[i % 4 / 2] += scores[i];
    }
  }
};

template <typename T>
__device__ __forceinline__ void PackFragments(const float (&scores)[64], uint32_t (&fragments)[8][4]) {
#pragma unroll
  for (int k = 0; k < 8; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) fragments[k][i] = PackPair<T>(scores[8 * k + 2 * i], scores[8 * k + 2 * i + 1]);
  }
}

// The warpgroups issue their products in turns, so that one is at its softmax while the other multiplies.
template <typename T, int DK, int DV>
__device__ __forceinline__ void Consume(const AttentionParams& p, const Places<DK, DV>& at, const Assignment* assignments) {
  const int group = threadIdx.x / 128, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const float scale = p.scale * kLog2E;
  const auto arrive = [&](uint32_t barrier) {
    if (lane == 0) Arrive(barrier);
  };
  // Named barriers 2 and 3: turns; 1: both warpgroups.
  const auto take_turn = [&] { SyncWarpgroups(2 + group, kConsumers); };
  const auto give_turn = [&] { ArriveWarpgroups(3 - group, kConsumers); };
  if (group == 1) ArriveWarpgroups(2, kConsumers);
  Turn keys_turn, values_turn, slot;
  uint32_t queries_parity = 0;
  for (;; queries_parity ^= 1) {
    WaitBarrier(at.WorkFull(slot.stage), slot.parity);
    const Assignment work = assignments[slot.stage];
    __syncwarp();
    arrive(at.WorkEmpty(slot.stage));
    slot.Next();
    if (work.sequence < 0) return;
    const Sequence sequence = SequenceAt(p, work.sequence);
    const KeyTiles tiles = VisibleTiles(p, sequence, work.first_row);
    const int first_row = work.first_row + group * 64 + warp * 16;  // the warp's
    int begins[2], ends[2], warp_begin, warp_end, unused;
    VisibleRange(p, sequence, first_row, unused, warp_end);
    VisibleRange(p, sequence, first_row + 15, warp_begin, unused);
#pragma unroll
    for (int half = 0; half < 2; ++half) VisibleRange(p, sequence, first_row + g + half * 8, begins[half], ends[half]);

    float out[DV / 2], scores[64];
    uint32_t fragments[8][4];
    Softmax softmax;
#pragma unroll
    for (int i = 0; i < DV / 2; ++i) out[i] = 0.0f;
    const auto multiply_keys = [&] {
      const uint32_t queries = (at.Queries(0) + group * kBoxBytes) / 16, keys = at.Keys(keys_turn.stage, 0) / 16;
      HoldRegisters(scores);
      FenceProducts();
#pragma unroll
      for (int k = 0; k < DK / 16; ++k)
        Product<0>(Type16<T>{}, scores, Rows(queries, k / 4 * kPieceBytes + k % 4 * 32), Rows(keys, k / 4 * kPieceBytes + k % 4 * 32), k > 0);
      CommitProducts();
    };
    const auto multiply_values = [&] {
      HoldRegisters(out);
      FenceProducts();
      const uint32_t values = at.Values(values_turn.stage, 0) / 16;
#pragma unroll
      for (int k = 0; k < 8; ++k) Product<1>(Type16<T>{}, out, fragments[k], Columns(values, k * 2048, kPieceBytes), 1);
      CommitProducts();
    };
    const auto hide = [&](int n) {
      if (n * kKeys >= warp_begin && (n + 1) * kKeys <= warp_end) return;
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        const int key = n * kKeys + i / 4 * 8 + 2 * t + i % 2;
        if (key < begins[i % 4 / 2] || key >= ends[i % 4 / 2]) scores[i] = -CUDART_INF_F;
      }
    };

    WaitBarrier(at.QueriesFull(), queries_parity);
    WaitBarrier(at.KeysFull(keys_turn.stage), keys_turn.parity);
    take_turn();
    multiply_keys();
    give_turn();
    WaitProducts<0>();
    HoldRegisters(scores);
    arrive(at.KeysEmpty(keys_turn.stage));
    keys_turn.Next();
    hide(tiles.end - 1);
    softmax.Add(scores, scale);
    PackFragments<T>(scores, fragments);
    const int valid = sequence.num_keys - (tiles.end - 1) * kKeys;
    if (valid < kKeys) {
      // Rows past the last key hold anything; as values they are multiplied by zero and must be numbers.
      WaitBarrier(at.ValuesFull(values_turn.stage), values_turn.parity);
      for (int index = max(0, valid) * (DV / 8) + static_cast<int>(threadIdx.x); index < kKeys * (DV / 8); index += kConsumers) {
        const int row = index / (DV / 8), chunk = index % (DV / 8);
        asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at.Values(values_turn.stage, chunk / 8) + row * 128 + chunk % 8 * 16), "r"(0) : "memory");
      }
      FenceSharedWrites();
      SyncWarpgroups(1, kConsumers);
    }
    for (int n = tiles.end - 2; n >= tiles.begin; --n) {
      WaitBarrier(at.KeysFull(keys_turn.stage), keys_turn.parity);
      take_turn();
      multiply_keys();
      WaitBarrier(at.ValuesFull(values_turn.stage), values_turn.parity);
      multiply_values();
      give_turn();
      WaitProducts<1>();
      HoldRegisters(scores);
      arrive(at.KeysEmpty(keys_turn.stage));
      keys_turn.Next();
      hide(n);
      softmax.Add(scores, scale);
      WaitProducts<0>();
      HoldRegisters(out);
      arrive(at.ValuesEmpty(values_turn.stage));
      values_turn.Next();
#pragma unroll
      for (int i = 0; i < DV / 2; ++i) out[i] *= softmax.shrink[i % 4 / 2];
      PackFragments<T>(scores, fragments);
    }
    arrive(at.QueriesEmpty());
    WaitBarrier(at.ValuesFull(values_turn.stage), values_turn.parity);
    multiply_values();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      softmax.total[half] += __shfl_xor_sync(0xffffffffu, softmax.total[half], 1);
      softmax.total[half] += __shfl_xor_sync(0xffffffffu, softmax.total[half], 2);
    }
    WaitProducts<0>();
    HoldRegisters(out);
    arrive(at.ValuesEmpty(values_turn.stage));
    values_turn.Next();

#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + g + half * 8;
      const bool valid_row = row < sequence.num_queries;
      const float sum = softmax.total[half], inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
      const int64_t item = static_cast<int64_t>(sequence.query_begin + row) * p.heads + work.head;
      T* place = static_cast<T*>(p.out) + item * DV + t * 8;
#pragma unroll
      for (int i = 0; i < DV / 32; ++i) {
        uint32_t pairs[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) pairs[j] = PackPair<T>(out[16 * i + 4 * j + 2 * half] * inverse, out[16 * i + 4 * j + 2 * half + 1] * inverse);
        QuadTranspose(pairs, t);
        if (valid_row) *reinterpret_cast<uint4*>(place + i * 32) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
      }
      if (valid_row && t == 0 && p.lse != nullptr) p.lse[item] = sum > 0.0f ? (softmax.top[half] + log2f(sum)) * kLn2 : -CUDART_INF_F;
    }
  }
}

template <typename T, int DK, int DV>
__global__ __launch_bounds__(kThreads, 1) void FlashWgmmaKernel(const __grid_constant__ AttentionParams p, const __grid_constant__ Schedule schedule,
                                                               const __grid_constant__ Maps maps) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  Places<DK, DV> at;
  at.base = (SharedAddress(memory) + 1023) & ~1023u;
  Assignment* assignments = reinterpret_cast<Assignment*>(memory + (at.base - SharedAddress(memory)) + Layout<DK, DV>::kAssignments);
  if (threadIdx.x == kConsumers) {
    PrefetchMap(&maps.q);
    PrefetchMap(&maps.k);
    PrefetchMap(&maps.v);
    InitBarrier(at.QueriesFull(), 1);
    InitBarrier(at.QueriesEmpty(), 8);
    for (int i = 0; i < 2; ++i) {
      InitBarrier(at.KeysFull(i), 1);
      InitBarrier(at.KeysEmpty(i), 8);
      InitBarrier(at.ValuesFull(i), 1);
      InitBarrier(at.ValuesEmpty(i), 8);
      InitBarrier(at.WorkFull(i), 1);
      InitBarrier(at.WorkEmpty(i), 8);
    }
    FenceBarrierInit();
  }
  LetNextStart();
  WaitForPrevious();
  __syncthreads();
  if (threadIdx.x >= kConsumers) {
    ReleaseRegisters<40>();
    if (threadIdx.x < kConsumers + 32) Produce<DK, DV>(p, schedule, maps, at, assignments);
  } else {
    TakeRegisters<232>();
    Consume<T, DK, DV>(p, at, assignments);
  }
#endif
}

template <typename T, int DK, int DV>
void Launch(const AttentionParams& p, const Schedule& schedule, const Maps& maps, int num_processors, cudaStream_t stream) {
  constexpr int kBytes = Layout<DK, DV>::kBytes;
  cudaFuncSetAttribute(FlashWgmmaKernel<T, DK, DV>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  LaunchKernel(FlashWgmmaKernel<T, DK, DV>, dim3(num_processors), kThreads, kBytes, stream, p, schedule, maps);
}

}  // namespace fathom::cuda::flash_wgmma
