// The FP8 cache's part of MLA's decode on warpgroup products (mla_wgmma.cuh).
#pragma once

#include "cuda/attention/mla_wgmma_work.cuh"
#include "cuda/cache/fp8_latents.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda::mla_wgmma {

// An FP8 cache (cuda/cache/fp8_latents.cuh): the warpgroup's 128 threads widen the latents; the rope part is fetched as it is.
// A quarter of a tile, 32 rows of 256 latents: thread i has 16 of them (i % 16) in rows i / 16, i / 16 + 8, ...
struct Fp8Quarter {
  uint4 values[4];
  float scales[4];
};

// Walks the quarters in the order in which they are wanted: of a pair's tiles 0 and 1 the halves (0, left), (1, right), (0, right), (1, left).
struct Fp8Walk {
  const int32_t* table;
  int tile, tile_end, step = 0, pages[2], upcoming[2];
  int tiles_a_page;
  __device__ __forceinline__ int PageOf(int t) const {
    if (t >= tile_end) return 0;
    return table[tiles_a_page == 1 ? t : t / tiles_a_page];
  }
  __device__ __forceinline__ Fp8Walk(const int32_t* table, const Work& work, int page_size)
      : table(table), tile(work.tile_begin), tile_end(work.tile_end), tiles_a_page(page_size / kKeys) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      pages[i] = PageOf(tile + i);
      upcoming[i] = PageOf(tile + 2 + i);
    }
  }
  // The tile's first row in its page.
  __device__ __forceinline__ int Row() const { return tiles_a_page == 1 ? 0 : (tile + Buffer()) % tiles_a_page * kKeys; }
  __device__ __forceinline__ bool Paired() const { return tile + 1 < tile_end; }
  __device__ __forceinline__ int Buffer() const { return Paired() ? step / 2 % 2 : 0; }
  __device__ __forceinline__ int Half() const { return Paired() ? (step / 2 + 1) / 2 % 2 : step / 2; }
  __device__ __forceinline__ int Page() const { return Buffer() == 0 ? pages[0] : pages[1]; }
  __device__ __forceinline__ void Next() {
    if (++step < (Paired() ? 8 : 4)) return;
    step = 0;
    tile += 2;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      pages[i] = upcoming[i];
      upcoming[i] = PageOf(tile + 2 + i);
    }
  }
};

template <typename T>
__device__ __forceinline__ void ProduceFp8(const AttentionParams& p, const CUtensorMap* rope_map, const Work& work) {
  const int thread = threadIdx.x - kConsumers, chunk = thread % 16, first_row = thread / 16;
  const int32_t* table = p.page_table + static_cast<int64_t>(work.sequence.index) * p.max_pages;
  Fp8Walk ahead(table, work, p.page_size), now(table, work, p.page_size);
  uint32_t parity = 1;
  const auto load = [&](Fp8Quarter& quarter) {
    if (ahead.tile >= work.tile_end) return;
    const int row = ahead.Row() + ahead.step % 2 * 32 + first_row;
    const unsigned char* base = static_cast<const unsigned char*>(p.k.base) + ahead.Page() * p.k.page_stride + row * kFp8RowBytes;
    const unsigned char* latents = base + ahead.Half() * kHalfColumns + chunk * 16;
    const unsigned char* scales = base + kMlaLatent + (ahead.Half() * 2 + chunk / 8) * 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      quarter.values[i] = LoadStreaming(latents + i * 8 * kFp8RowBytes);
      quarter.scales[i] = __ldg(reinterpret_cast<const float*>(scales + i * 8 * kFp8RowBytes));
    }
    ahead.Next();
  };
  const auto store = [&](const Fp8Quarter& quarter) {
    if (now.tile >= work.tile_end) return;
    const int buffer = now.Buffer(), half = now.Half(), part = now.step % 2;
    if (part == 0) WaitBarrier(work.Empty(buffer, half), parity);
    if (part == 0 && half != buffer && thread == 0) {
      ExpectBytes(work.Full(buffer, kRopePiece), kPieceBytes);
      CopyBox(work.Piece(buffer, kRopePiece), rope_map, work.Full(buffer, kRopePiece), 0, now.Row(), now.Page(), 0);
    }
    const uint32_t piece = work.Piece(buffer, half * 4 + chunk / 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = part * 32 + first_row + i * 8;
      const uint32_t packed[4] = {quarter.values[i].x, quarter.values[i].y, quarter.values[i].z, quarter.values[i].w};
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        uint32_t wide[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) wide[k] = WidenFp8Pair<T>(packed[2 * j + k / 2] >> k % 2 * 16 & 0xffff, quarter.scales[i]);
        const uint32_t address = piece + row * 128 + ((chunk % 4 * 2 + j) ^ row % 8) * 16;
        asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(wide[0]), "r"(wide[1]), "r"(wide[2]), "r"(wide[3]) : "memory");
      }
    }
    if (part == 1) {
      FenceSharedWrites();
      Arrive(work.Full(buffer, half * 4));
    }
    const int tile = now.tile;
    now.Next();
    parity ^= now.tile != tile;
  };
  Fp8Quarter a, b, c;
  load(a);
  load(b);
  while (now.tile < work.tile_end) {
    load(c);
    store(a);
    load(a);
    store(b);
    load(b);
    store(c);
  }
}

}  // namespace fathom::cuda::mla_wgmma
