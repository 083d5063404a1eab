// What a block of MLA's decode on warpgroup products (mla_wgmma.cuh) works on, and the thread that fetches it.
#pragma once

#include "cuda/attention/attention_kernel.h"
#include "cuda/attention/sequence.cuh"
#include "cuda/tma.cuh"

#pragma nv_diag_suppress 177  // other devices compile the kernel to nothing and its constants are idle

namespace fathom::cuda::mla_wgmma {

constexpr int kRows = 64, kKeys = 64, kThreads = 384, kConsumers = 256;
constexpr int kPieces = (kMlaLatent + kMlaRope) / 64, kPieceBytes = 64 * 128, kTileBytes = kPieces * kPieceBytes;  // a piece: 64 rows of 64 values
constexpr int kRopePiece = kPieces - 1, kHalfColumns = kMlaLatent / 2;

// Offsets in shared memory. A tile's probabilities are written where its rope piece was, which only its scores need.
constexpr int kQueries = 0, kTiles = kTileBytes, kFloats = 3 * kTileBytes;
constexpr int kTop0 = 0, kTop1 = 64, kShrink0 = 128, kShrink1 = 192, kSums = 256, kNumFloats = 384;
constexpr int kBarriers = kFloats + kNumFloats * 4, kNumBarriers = 2 * kPieces + 4;
constexpr int kSharedTile = kBarriers + kNumBarriers * 8;
constexpr int kBytes = kSharedTile + 16 + 1024;  // the base is rounded up to a multiple of 1024

// Barriers between the warpgroups.
constexpr int kFirstTop = 1, kSecondReady = 2, kFirstReady = 3, kEnd = 4, kOwn = 5 /* and 6 */, kScoresBegun = 7;

// What a block works on, the same for all its threads.
struct Work {
  Sequence sequence;
  int first_row, total_rows;       // of the sequence
  int tile_begin, tile_end;        // of keys
  uint32_t shared;                 // address of the base
  __device__ uint32_t Full(int buffer, int piece) const { return shared + kBarriers + (buffer * kPieces + piece) * 8; }
  __device__ uint32_t Empty(int buffer, int half) const { return shared + kBarriers + (2 * kPieces + buffer * 2 + half) * 8; }
  __device__ uint32_t Piece(int buffer, int piece) const { return shared + kTiles + buffer * kTileBytes + piece * kPieceBytes; }
};

// One thread. Buffer b holds the pairs' tile b; warpgroup b frees its half b, the other warpgroup the other half with the rope piece.
__device__ __forceinline__ void Produce(const AttentionParams& p, const CUtensorMap* map, const Work& work) {
  const int32_t* table = p.page_table + static_cast<int64_t>(work.sequence.index) * p.max_pages;
  const auto page_of = [&](int tile) { return tile < work.tile_end ? table[tile * kKeys / p.page_size] : 0; };
  int pages[2] = {page_of(work.tile_begin), page_of(work.tile_begin + 1)};
  uint32_t parity = 1;
  for (int tile = work.tile_begin; tile < work.tile_end; tile += 2) {
    const int upcoming[2] = {page_of(tile + 2), page_of(tile + 3)};
    const bool has_second = tile + 1 < work.tile_end;
    const auto fetch = [&](int buffer, int half, bool rope) {
      WaitBarrier(work.Empty(buffer, half), parity);
      const int row = (tile + buffer) * kKeys % p.page_size;
#pragma unroll
      for (int i = 0; i < 5; ++i) {
        if (i == 4 && !rope) break;
        const int piece = i == 4 ? kRopePiece : half * 4 + i;
        ExpectBytes(work.Full(buffer, piece), kPieceBytes);
        CopyBox(work.Piece(buffer, piece), map, work.Full(buffer, piece), piece * 64, row, pages[buffer], 0);
      }
    };
    fetch(0, 0, false);
    if (has_second) fetch(1, 1, false);
    fetch(0, 1, true);
    if (has_second) fetch(1, 0, true);
    pages[0] = upcoming[0];
    pages[1] = upcoming[1];
    parity ^= 1;
  }
}

}  // namespace fathom::cuda::mla_wgmma
