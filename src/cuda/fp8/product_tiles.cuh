// How the FP8 product is cut up: the stages of a block's ring in shared memory, and the tiles of the output that a pair of blocks walks over.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace fathom::cuda {
namespace fp8 {

inline constexpr int kTileColumns = 128;  // of a block
inline constexpr int kDepth = 128;        // values of the sum a stage
inline constexpr int kThreads = 384, kMathWarps = 8, kScaleWarps = 2;
// Registers of a thread that copies and of one that multiplies. A block has 168 a thread at its start and never more in all: asking for one too many waits for good.
inline constexpr int kCopyRegisters = 40, kMathRegisters = 232;
static_assert(4 * 32 * kCopyRegisters + kMathWarps * 32 * kMathRegisters <= 168 * kThreads);

template <int kTileRows, bool kWgrad>
struct Layout {
  static constexpr int kStages = kTileRows == 256 ? 4 : 6;
  static constexpr int kABytes = kTileRows * kDepth, kBBytes = kTileColumns * kDepth;
  static constexpr int kScales = kTileRows + (kWgrad ? kTileColumns : 0);  // floats a stage
  static constexpr int kStagingBytes = 2048;                               // a warp: 16 rows of 64 bf16 values
  static constexpr int kStaging = kStages * (kABytes + kBBytes), kScale = kStaging + kMathWarps * kStagingBytes,
                       kBarriers = kScale + kStages * kScales * 4, kBytes = kBarriers + 2 * kStages * 8;
  static constexpr int kAllocated = kBytes + 1024;  // the base is rounded up to a multiple of 1024
  static_assert(kAllocated <= 232448);
};

// One tile of the output, and where its operands are. Block b of the sum is at (b * a_step_x, a_y + b * a_step_y) of a's map.
struct Tile {
  int rows = 0, columns = 0;  // of the output within the tile, from its corner; columns may be <= 0 for the second block of a pair
  int depth_blocks = 0;
  int a_y = 0, b_y = 0;
  const float* a_scale = nullptr;  // of the tile's first row; b * a_scale_step floats further for block b
  const float* b_scale = nullptr;  // forward: one a block of the sum; wgrad: of the tile's first column, as a_scale
  int64_t out = 0;                 // offset of the corner in the output
};

struct Problem {
  const float* a_scale = nullptr;
  const float* b_scale = nullptr;
  void* out = nullptr;
  const int32_t* offsets = nullptr;
  int rows = 0, groups = 1;
  int out_rows = 0, out_columns = 0;  // wgrad: N, K; forward: -, N
  int depth_blocks = 0;               // forward
};

// Walks over the tiles of all groups: the tiles of a pair are first, first + step, ...
template <int kTileRows, bool kWgrad>
class TileWalk {
 public:
  __device__ __forceinline__ TileWalk(const Problem& problem, int pair, int rank) : p_(problem), next_(pair), rank_(rank) {
    pairs_of_columns_ = (p_.out_columns + 2 * kTileColumns - 1) / (2 * kTileColumns);
    group_ = -1;
  }

  __device__ __forceinline__ bool Next(int step, Tile& tile) {
    while (next_ >= last_) {
      if (++group_ >= p_.groups) return false;
      start_ = last_;
      block_ += depth_blocks_;
      first_row_ = p_.offsets == nullptr ? 0 : __ldg(p_.offsets + group_);
      num_rows_ = (p_.offsets == nullptr ? p_.rows : __ldg(p_.offsets + group_ + 1)) - first_row_;
      if (kWgrad) depth_blocks_ = (num_rows_ + kDepth - 1) / kDepth;
      row_tiles_ = ((kWgrad ? p_.out_rows : num_rows_) + kTileRows - 1) / kTileRows;
      last_ = start_ + row_tiles_ * pairs_of_columns_;
    }
    const int index = next_ - start_, row = index % row_tiles_ * kTileRows, column = (index / row_tiles_ * 2 + rank_) * kTileColumns;
    next_ += step;
    tile.columns = p_.out_columns - column;
    if constexpr (kWgrad) {
      tile.rows = p_.out_rows - row;
      tile.depth_blocks = depth_blocks_;
      tile.a_y = block_ * p_.out_rows + row;
      tile.b_y = block_ * p_.out_columns + column;
      tile.a_scale = p_.a_scale + tile.a_y;
      tile.b_scale = p_.b_scale + tile.b_y;
      tile.out = (static_cast<int64_t>(group_) * p_.out_rows + row) * p_.out_columns + column;
    } else {
      tile.rows = num_rows_ - row;
      tile.depth_blocks = p_.depth_blocks;
      tile.a_y = first_row_ + row;
      tile.b_y = group_ * p_.out_columns + column;
      tile.a_scale = p_.a_scale + tile.a_y;
      const int column_blocks = (p_.out_columns + kTileColumns - 1) / kTileColumns;
      tile.b_scale = p_.b_scale + (static_cast<int64_t>(group_) * column_blocks + min(column / kTileColumns, column_blocks - 1)) * p_.depth_blocks;
      tile.out = static_cast<int64_t>(tile.a_y) * p_.out_columns + column;
    }
    return true;
  }

 private:
  const Problem& p_;
  int next_, rank_, pairs_of_columns_, group_, start_ = 0, last_ = 0, row_tiles_ = 1, first_row_ = 0, num_rows_ = 0, block_ = 0, depth_blocks_ = 0;
};

// Where in the ring of stages a role stands.
template <int kStages>
struct Ring {
  int stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void Advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

}  // namespace fp8
}  // namespace fathom::cuda
