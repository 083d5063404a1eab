// MLA's absorbed decode on Hopper's warpgroup products. A block takes 64 rows (row r of a sequence is query r / heads, head r % heads) and walks the
// keys in pairs of tiles of 64. Warpgroup 0 has the scores of the first tile, warpgroup 1 those of the second; each keeps its half of the output's
// columns for all rows and takes both tiles' probabilities, its own from registers, the other's through shared memory: while one is at its softmax the
// other's products run. A third warpgroup's thread fetches tiles by bulk copies, each half of a tile as soon as its last reader is done.
#pragma once

#include <math_constants.h>

#include "cuda/attention/mla_wgmma_fp8.cuh"
#include "cuda/attention/mla_wgmma_work.cuh"
#include "cuda/launch.cuh"
#include "cuda/mma.cuh"
#include "cuda/scalar.cuh"
#include "cuda/wgmma.cuh"

namespace fathom::cuda::mla_wgmma {

constexpr float kLn2 = 0.69314718055994531f, kLog2E = 1.44269504088896341f;

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Adds the products of query pieces and key pieces kFirst .. kFirst + kCount - 1 of the buffer as they arrive. kTogether: they arrive as one.
template <typename T, bool kTogether, int kBuffer, int kFirst, int kCount>
__device__ __forceinline__ void ScorePieces(const Work& work, float (&scores)[32], uint32_t parity, bool begin) {
#pragma unroll
  for (int piece = kFirst; piece < kFirst + kCount; ++piece) {
    if (!kTogether || piece == kFirst) WaitBarrier(work.Full(kBuffer, piece), parity);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const Operand a = Rows(work.shared / 16, kQueries + piece * kPieceBytes + k * 32);
      const Operand b = Rows(work.shared / 16, kTiles + kBuffer * kTileBytes + piece * kPieceBytes + k * 32);
      Product<0>(Type16<T>{}, scores, a, b, !(begin && piece == kFirst && k == 0));
    }
  }
}

// Writes this thread's probabilities as an A operand into the tile at `address`.
template <typename T>
__device__ __forceinline__ void StoreProbabilities(uint32_t address, const float (&probabilities)[32], float factor_low, float factor_high) {
  const int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint32_t row = address + (warp * 16 + g) * 128 + t * 4;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint32_t chunk = (i ^ g) * 16;
    const uint32_t low = PackPair<T>(probabilities[4 * i] * factor_low, probabilities[4 * i + 1] * factor_low);
    const uint32_t high = PackPair<T>(probabilities[4 * i + 2] * factor_high, probabilities[4 * i + 3] * factor_high);
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(row + chunk), "r"(low) : "memory");
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(row + chunk + 8 * 128), "r"(high) : "memory");
  }
}

__device__ __forceinline__ void Scale(float (&out)[128], float low, float high) {
  if (__all_sync(0xffffffffu, low == 1.0f && high == 1.0f)) return;  // most often, once the largest scores have been seen
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    out[4 * i] *= low;
    out[4 * i + 1] *= low;
    out[4 * i + 2] *= high;
    out[4 * i + 3] *= high;
  }
}

// Rows of a tile past the last key hold anything; as values they are multiplied by zero and must be numbers.
__device__ __forceinline__ void ClearRows(const Work& work, int buffer, int first) {
  for (int index = first * 64 + threadIdx.x % 128; index < 64 * 64; index += 128) {
    const uint32_t address = work.Piece(buffer, index % 64 / 8) + index / 64 * 128 + index % 8 * 16;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(address), "r"(0) : "memory");
  }
  FenceSharedWrites();
}

template <typename T, bool kFp8, int kGroup>
__device__ __forceinline__ void Consume(const AttentionParams& p, const Work& work, float* floats) {
  const int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int rows[2] = {warp * 16 + g, warp * 16 + g + 8};
  const float scale = p.scale * kLog2E;
  // Keys that each of this thread's rows sees, and that all rows of the block see.
  int ends[2], begin, all_end;
  VisibleRange(p, work.sequence, work.first_row / p.heads, begin, all_end);
#pragma unroll
  for (int half = 0; half < 2; ++half) VisibleRange(p, work.sequence, min(work.first_row + rows[half], work.total_rows - 1) / p.heads, begin, ends[half]);

  float out[128], scores[32];
#pragma unroll
  for (int i = 0; i < 128; ++i) out[i] = 0.0f;
  float top[2] = {-CUDART_INF_F, -CUDART_INF_F}, total[2] = {0.0f, 0.0f}, shrink[2], other_shrink[2];
  uint32_t parity = 0;

  // The tile's largest scores, hidden keys at minus infinity.
  const auto largest = [&](int tile, float (&most)[2]) {
    if ((tile + 1) * kKeys > all_end) {
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const int key = tile * kKeys + i / 4 * 8 + 2 * t + i % 2;
        if (key >= ends[i % 4 / 2]) scores[i] = -CUDART_INF_F;
      }
    }
    most[0] = most[1] = -CUDART_INF_F;
#pragma unroll
    for (int i = 0; i < 32; ++i) most[i % 4 / 2] = fmaxf(most[i % 4 / 2], scores[i]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 1));
      most[half] = fmaxf(most[half], __shfl_xor_sync(0xffffffffu, most[half], 2)) * scale;
    }
    const int valid = work.sequence.num_keys - tile * kKeys;
    if (valid < kKeys) {
      ClearRows(work, kGroup, valid);
      SyncWarpgroups(kOwn + kGroup, 128);
    }
  };
  const auto exponentials = [&](const float (&base)[2]) {
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      scores[i] = Exp2(fmaf(scores[i], scale, -base[i % 4 / 2]));
      total[i % 4 / 2] += scores[i];
    }
  };
  // 16 keys of this half's columns as values.
  const auto values = [&](int buffer, int k) {
    return Columns(work.shared / 16, kTiles + buffer * kTileBytes + kGroup * 4 * kPieceBytes + k * 2048, kPieceBytes);
  };
  const auto own_products = [&] {
    uint32_t fragments[4][4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) fragments[k][i] = PackPair<T>(scores[8 * k + 2 * i], scores[8 * k + 2 * i + 1]);
    }
    HoldRegisters(out);
    FenceProducts();
#pragma unroll
    for (int k = 0; k < 4; ++k) Product<1>(Type16<T>{}, out, fragments[k], values(kGroup, k), 1);
    CommitProducts();
  };
  const auto other_products = [&] {
    constexpr int kOther = 1 - kGroup;
    FenceProducts();
#pragma unroll
    for (int k = 0; k < 4; ++k) Product<1>(Type16<T>{}, out, Rows(work.shared / 16, kTiles + kOther * kTileBytes + kRopePiece * kPieceBytes + k * 32), values(kOther, k), 1);
    CommitProducts();
  };
  const auto own_scores = [&](uint32_t at) {
    FenceProducts();
    ScorePieces<T, kFp8, kGroup, kGroup * 4, 4>(work, scores, at, true);
    CommitProducts();
  };
  const auto remaining_scores = [&](uint32_t at) {
    ScorePieces<T, kFp8, kGroup, (1 - kGroup) * 4, 4>(work, scores, at, false);
    ScorePieces<T, kFp8, kGroup, kRopePiece, 1>(work, scores, at, false);
    CommitProducts();
  };
  const auto release = [&](int buffer, int half) {
    if (lane == 0) Arrive(work.Empty(buffer, half));
  };
  const auto base_of = [](float most) { return most == -CUDART_INF_F ? 0.0f : most; };

  int tile = work.tile_begin;
  float base[2], most[2];
  const auto begin_scores = [&] {
    HoldRegisters(out);
    HoldRegisters(scores);
    own_scores(0);
    remaining_scores(0);
  };
  if constexpr (kGroup == 0) {
    begin_scores();
    while (true) {
      WaitProducts<0>();
      HoldRegisters(scores);
      HoldRegisters(out);
      largest(tile, most);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        most[half] = fmaxf(most[half], top[half]);
        base[half] = base_of(most[half]);
        shrink[half] = Exp2(top[half] - base[half]);
        total[half] *= shrink[half];
        if (t == 0) {
          floats[kTop0 + rows[half]] = most[half];
          floats[kShrink0 + rows[half]] = shrink[half];
        }
      }
      ArriveWarpgroups(kFirstTop, kConsumers);
      exponentials(base);
      Scale(out, shrink[0], shrink[1]);
      own_products();
      SyncWarpgroups(kSecondReady, kConsumers);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        top[half] = floats[kTop1 + rows[half]];
        other_shrink[half] = floats[kShrink1 + rows[half]];
        total[half] *= other_shrink[half];
      }
      StoreProbabilities<T>(work.Piece(0, kRopePiece), scores, other_shrink[0], other_shrink[1]);
      FenceSharedWrites();
      ArriveWarpgroups(kFirstReady, kConsumers);
      WaitProducts<0>();
      HoldRegisters(out);
      release(0, 0);
      Scale(out, other_shrink[0], other_shrink[1]);
      HoldRegisters(out);
      if (tile + 2 >= work.tile_end) {
        if (tile + 1 < work.tile_end) {
          other_products();
          WaitProducts<0>();
          HoldRegisters(out);
        }
        break;
      }
      HoldRegisters(scores);
      other_products();
      parity ^= 1;
      own_scores(parity);
      ArriveWarpgroups(kScoresBegun, kConsumers);
      WaitProducts<1>();
      HoldRegisters(out);
      release(1, 0);
      remaining_scores(parity);
      tile += 2;
    }
  } else {
    // Takes over the tops that warpgroup 0 has found, and hands back those with this tile's.
    const auto join_tops = [&] {
      SyncWarpgroups(kFirstTop, kConsumers);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float first_top = floats[kTop0 + rows[half]];
        most[half] = fmaxf(most[half], first_top);
        base[half] = base_of(most[half]);
        other_shrink[half] = Exp2(first_top - base[half]);
        shrink[half] = floats[kShrink0 + rows[half]] * other_shrink[half];
        total[half] *= shrink[half];
        top[half] = most[half];
        if (t == 0) {
          floats[kTop1 + rows[half]] = most[half];
          floats[kShrink1 + rows[half]] = other_shrink[half];
        }
      }
    };
    const auto both_products = [&] {
      own_products();
      SyncWarpgroups(kFirstReady, kConsumers);
      HoldRegisters(scores);
      other_products();
      WaitProducts<1>();
      release(1, 1);
    };
    if (tile + 1 < work.tile_end) {
      begin_scores();
      while (true) {
        WaitProducts<0>();
        HoldRegisters(scores);
        HoldRegisters(out);
        largest(tile + 1, most);
        join_tops();
        exponentials(base);
        StoreProbabilities<T>(work.Piece(1, kRopePiece), scores, 1.0f, 1.0f);
        FenceSharedWrites();
        ArriveWarpgroups(kSecondReady, kConsumers);
        Scale(out, shrink[0], shrink[1]);
        tile += 2;
        if (tile + 1 >= work.tile_end) {
          both_products();
          WaitProducts<0>();
          HoldRegisters(out);
          release(0, 1);
          break;
        }
        both_products();
        parity ^= 1;
        WaitProducts<0>();
        HoldRegisters(out);
        release(0, 1);
        // After warpgroup 0, so that its scores are there first and its softmax runs beside these products.
        SyncWarpgroups(kScoresBegun, kConsumers);
        own_scores(parity);
        remaining_scores(parity);
      }
    }
    if (tile < work.tile_end) {
      most[0] = most[1] = -CUDART_INF_F;
      join_tops();
      ArriveWarpgroups(kSecondReady, kConsumers);
      Scale(out, shrink[0], shrink[1]);
      SyncWarpgroups(kFirstReady, kConsumers);
      HoldRegisters(out);
      other_products();
      WaitProducts<0>();
      HoldRegisters(out);
    }
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    if (t == 0) floats[kSums + kGroup * 64 + rows[half]] = total[half];
  }
  SyncWarpgroups(kEnd, kConsumers);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = work.first_row + rows[half];
    const float sum = floats[kSums + rows[half]] + floats[kSums + 64 + rows[half]];
    const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
    const float lse = sum > 0.0f ? top[half] + log2f(sum) : -CUDART_INF_F;
    const int64_t item = static_cast<int64_t>(work.sequence.query_begin) * p.heads + r;
    const bool valid = r < work.total_rows;
    if (p.num_splits > 1) {
      if (valid) {
        float* place = p.partial_out + (static_cast<int64_t>(blockIdx.z) * p.tokens * p.heads + item) * kMlaLatent + kGroup * kHalfColumns + 2 * t;
#pragma unroll
        for (int i = 0; i < 32; ++i)
          *reinterpret_cast<float2*>(place + i * 8) = make_float2(out[4 * i + 2 * half] * inverse, out[4 * i + 2 * half + 1] * inverse);
        if (kGroup == 0 && t == 0) p.partial_lse[item * p.num_splits + blockIdx.z] = lse;
      }
    } else {
      T* place = static_cast<T*>(p.out) + item * kMlaLatent + kGroup * kHalfColumns + t * 8;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        uint32_t pairs[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) pairs[j] = PackPair<T>(out[16 * i + 4 * j + 2 * half] * inverse, out[16 * i + 4 * j + 2 * half + 1] * inverse);
        QuadTranspose(pairs, t);
        if (valid) *reinterpret_cast<uint4*>(place + i * 32) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
      }
      if (valid && kGroup == 0 && t == 0 && p.lse != nullptr) p.lse[item] = lse * kLn2;
    }
  }
}

template <typename T, bool kFp8>
__global__ __launch_bounds__(kThreads, 1) void MlaWgmmaKernel(const __grid_constant__ AttentionParams p, const __grid_constant__ CUtensorMap map) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  Work work;
  work.shared = (SharedAddress(memory) + 1023) & ~1023u;
  unsigned char* base = memory + (work.shared - SharedAddress(memory));
  float* floats = reinterpret_cast<float*>(base + kFloats);
  RowTileOf* shared_tile = reinterpret_cast<RowTileOf*>(base + kSharedTile);
  if (threadIdx.x == kConsumers) {
    PrefetchMap(&map);
    for (int buffer = 0; buffer < 2; ++buffer) {
      for (int piece = 0; piece < kPieces; ++piece) InitBarrier(work.Full(buffer, piece), kFp8 && piece != kRopePiece ? 128 : 1);
      for (int half = 0; half < 2; ++half) InitBarrier(work.Empty(buffer, half), 4);
    }
    FenceBarrierInit();
  }
  LetNextStart();
  WaitForPrevious();
  if (threadIdx.x < 32) {
    const RowTileOf found = FindRowTile<kRows>(p, p.heads, static_cast<int>(blockIdx.x));
    if (threadIdx.x == 0) *shared_tile = found;
  }
  __syncthreads();
  if (shared_tile->sequence < 0) return;
  work.sequence = SequenceAt(p, shared_tile->sequence);
  work.first_row = shared_tile->first_row;
  work.total_rows = work.sequence.num_queries * p.heads;
  const int last_row = min(work.total_rows, work.first_row + kRows) - 1;
  int key_begin, key_end;
  VisibleRange(p, work.sequence, last_row / p.heads, key_begin, key_end);
  const int all_tiles = (key_end + kKeys - 1) / kKeys, split_tiles = (all_tiles + p.num_splits - 1) / p.num_splits;
  work.tile_begin = min(all_tiles, static_cast<int>(blockIdx.z) * split_tiles);
  work.tile_end = min(all_tiles, work.tile_begin + split_tiles);
  if (work.tile_begin >= work.tile_end) {
    for (int r = work.first_row + static_cast<int>(threadIdx.x) / 32; r <= last_row; r += kThreads / 32) {
      const int64_t item = static_cast<int64_t>(work.sequence.query_begin) * p.heads + r;
      if (p.num_splits > 1) {
        if (threadIdx.x % 32 == 0) p.partial_lse[item * p.num_splits + blockIdx.z] = -CUDART_INF_F;
      } else {
        for (int d = threadIdx.x % 32; d < kMlaLatent; d += 32) static_cast<T*>(p.out)[item * kMlaLatent + d] = FromFloat<T>(0.0f);
        if (threadIdx.x % 32 == 0 && p.lse != nullptr) p.lse[item] = -CUDART_INF_F;
      }
    }
    return;
  }
  if (threadIdx.x < kConsumers) {
    for (int index = threadIdx.x; index < kRows * kPieces * 8; index += kConsumers) {
      const int row = index / (kPieces * 8), chunk = index % (kPieces * 8), r = work.first_row + row;
      const int64_t token = work.sequence.query_begin + r / p.heads, head = r % p.heads;
      const bool valid = r < work.total_rows;
      const T* source = static_cast<const T*>(p.q);
      if (valid && chunk < kMlaLatent / 8) source += token * p.q_token_stride + head * p.q_head_stride + chunk * 8;
      if (valid && chunk >= kMlaLatent / 8)
        source = static_cast<const T*>(p.q_rope) + token * p.q_rope_token_stride + head * p.q_rope_head_stride + chunk * 8 - kMlaLatent;
      CopyAsync16(work.shared + kQueries + chunk / 8 * kPieceBytes + row * 128 + (chunk % 8 ^ row % 8) * 16, source, valid);
    }
    CopyAsyncCommit();
    CopyAsyncWait<0>();
    FenceSharedWrites();
    SyncWarpgroups(kEnd, kConsumers);
  }
  if constexpr (kFp8) {
    if (threadIdx.x >= kConsumers) {
      ReleaseRegisters<88>();
      ProduceFp8<T>(p, &map, work);
    } else if (threadIdx.x < 128) {
      TakeRegisters<208>();
      Consume<T, true, 0>(p, work, floats);
    } else {
      TakeRegisters<208>();
      Consume<T, true, 1>(p, work, floats);
    }
  } else {
    if (threadIdx.x >= kConsumers) {
      ReleaseRegisters<40>();
      if (threadIdx.x == kConsumers) Produce(p, &map, work);
    } else if (threadIdx.x < 128) {
      TakeRegisters<232>();
      Consume<T, false, 0>(p, work, floats);
    } else {
      TakeRegisters<232>();
      Consume<T, false, 1>(p, work, floats);
    }
  }
#endif
}

}  // namespace fathom::cuda::mla_wgmma
