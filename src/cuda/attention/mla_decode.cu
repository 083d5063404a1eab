// MLA's absorbed decode (DeepSeek-V2, arXiv 2405.04434, 2.1) on mma.sync. A block takes 16 * kRowTiles heads of one query and a run of its
// keys: 64 latents (with their rope part) are copied to shared memory while the 64 before them are used, once for scores and once as values.
// Eight warps: for the scores they share out row tiles and keys, for the values the columns of the latent.
#include <math_constants.h>

#include "cuda/attention/attention_kernel.h"
#include "cuda/attention/sequence.cuh"
#include "cuda/launch.cuh"
#include "cuda/mma.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kKeys = 64, kWarps = 8, kThreads = kWarps * 32;
constexpr int kDim = kMlaLatent + kMlaRope, kChunks = kDim / 8;  // a row is 72 chunks of 16 bytes
constexpr int kProbabilityPitch = kKeys + 8;
constexpr int kColumns = kMlaLatent / kWarps;  // of the latent, a warp
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

// Chunk `chunk` of a row, exchanged within groups of eight by the row's number: the eight rows that ldmatrix reads lie in different banks.
__device__ __forceinline__ int Place(int row, int chunk) { return (row * kChunks + (chunk ^ (row & 7))) * 8; }

template <int kRowTiles>
constexpr int SharedBytes() {
  constexpr int kRows = 16 * kRowTiles;
  return (kRows + 2 * kKeys) * kDim * 2 + kRows * kProbabilityPitch * 2 + (kWarps / kRowTiles + 1) * kRows * 4;
}

template <typename T, int kRowTiles>
__global__ __launch_bounds__(kThreads, 1) void MlaDecodeKernel(AttentionParams p) {
  constexpr int kRows = 16 * kRowTiles, kKeyParts = kWarps / kRowTiles, kScoreTiles = kKeys / kKeyParts / 8;
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ int shared_sequence;
  LetNextStart();
  WaitForPrevious();
  T* q_shared = reinterpret_cast<T*>(memory);
  T* k_shared = q_shared + kRows * kDim;
  T* p_shared = k_shared + 2 * kKeys * kDim;
  float* parts = reinterpret_cast<float*>(p_shared + kRows * kProbabilityPitch);  // [kKeyParts][kRows]
  float* shrinks = parts + kKeyParts * kRows;                                     // [kRows]
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int row_tile = warp % kRowTiles, key_part = warp / kRowTiles;
  const int first_head = blockIdx.x * kRows, token = blockIdx.y, split = blockIdx.z;
  if (warp == 0) {
    const int b = FindSequence(p.cu_q, p.batch, token);
    if (lane == 0) shared_sequence = b;
  }
  __syncthreads();
  Sequence sequence;
  int key_begin = 0, key_end = 0;
  if (shared_sequence >= 0) {
    sequence = SequenceAt(p, shared_sequence);
    VisibleRange(p, sequence, token - sequence.query_begin, key_begin, key_end);
  }
  const int all_tiles = (key_end + kKeys - 1) / kKeys, split_tiles = (all_tiles + p.num_splits - 1) / p.num_splits;
  const int tile_begin = min(all_tiles, split * split_tiles), tile_end = min(all_tiles, tile_begin + split_tiles);
  if (tile_begin >= tile_end && p.num_splits > 1) {
    for (int r = threadIdx.x; r < kRows; r += kThreads) {
      if (first_head + r < p.heads)
        p.partial_lse[(static_cast<int64_t>(token) * p.heads + first_head + r) * p.num_splits + split] = -CUDART_INF_F;
    }
    return;
  }

  // Where tile n begins, where a page holds whole tiles: looked up well before its copy starts.
  const bool whole_tiles = p.page_size % kKeys == 0;
  const auto tile_source = [&](int n) -> const T* {
    if (!whole_tiles || n >= tile_end) return static_cast<const T*>(p.k.base);
    return KeyRow<T>(p, p.k, sequence, n * kKeys, 0);
  };
  const auto start_copy = [&](int n, const T* source) {
    T* stage = k_shared + n % 2 * kKeys * kDim;
    int row = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
#pragma unroll 6
    for (int i = 0; i < kKeys * kChunks / kThreads; ++i) {
      const int key = n * kKeys + row;
      const bool valid = key < key_end;
      const T* from = static_cast<const T*>(p.k.base);
      if (valid) from = (whole_tiles ? source + row * p.k.row_stride : KeyRow<T>(p, p.k, sequence, key, 0)) + chunk * 8;
      CopyAsync16(SharedAddress(stage + Place(row, chunk)), from, valid);
      row += kThreads / kChunks;
      chunk += kThreads % kChunks;
      if (chunk >= kChunks) {
        chunk -= kChunks;
        ++row;
      }
    }
  };
  const T *first_source = tile_source(tile_begin), *second_source = tile_source(tile_begin + 1);
  for (int index = threadIdx.x; index < kRows * kChunks; index += kThreads) {
    const int row = index / kChunks, chunk = index % kChunks, head = first_head + row;
    const bool valid = head < p.heads;
    const T* source = static_cast<const T*>(p.q);
    if (valid && chunk < kMlaLatent / 8) source += token * p.q_token_stride + head * p.q_head_stride + chunk * 8;
    if (valid && chunk >= kMlaLatent / 8)
      source = static_cast<const T*>(p.q_rope) + token * p.q_rope_token_stride + head * p.q_rope_head_stride + chunk * 8 - kMlaLatent;
    CopyAsync16(SharedAddress(q_shared + Place(row, chunk)), source, valid);
  }
  if (tile_begin < tile_end) start_copy(tile_begin, first_source);
  CopyAsyncCommit();
  if (tile_begin + 1 < tile_end) start_copy(tile_begin + 1, second_source);
  CopyAsyncCommit();

  // Shared addresses of this lane within 64 dimensions (eight chunks): the exchange of chunks repeats every eight.
  constexpr int kRowBytes = kDim * 2;
  uint32_t q_address[4], score_address[2], value_address[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    q_address[i] = SharedAddress(q_shared + Place(row_tile * 16 + lane % 16, i * 2 + lane / 16));
    value_address[i] = SharedAddress(k_shared + Place(lane / 8 % 2 * 8 + lane % 8, warp * (kColumns / 8) + i * 2 + lane / 16));
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) score_address[i] = SharedAddress(k_shared + Place(key_part * kScoreTiles * 8 + lane % 8, i * 4 + lane / 8));

  // With one row tile the queries' fragments stay in registers: every warp needs all of them.
  constexpr bool kHoldQueries = kRowTiles == 1;
  uint32_t held[kHoldQueries ? kDim / 16 : 1][4];
  if constexpr (kHoldQueries) {
    CopyAsyncWait<1>();
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) LoadMatrix4(held[k], q_address[k % 4] + k / 4 * 128);
  }

  const float scale = p.scale * kLog2E;
  float out[kRowTiles][kColumns / 8][4] = {};
  float top[2] = {-CUDART_INF_F, -CUDART_INF_F}, total[2] = {0.0f, 0.0f};  // of rows g and g + 8 of the warp's row tile

  for (int n = tile_begin; n < tile_end; ++n) {
    CopyAsyncWait<1>();
    __syncthreads();
    const uint32_t stage = n % 2 * kKeys * kRowBytes;
    const T* upcoming = tile_source(n + 2);
    // Scores of this warp's 16 rows and 8 * kScoreTiles keys, in two chains of sums.
    float scores[kScoreTiles][2][4] = {};
#pragma unroll(kRowTiles == 1 ? 9 : 3)
    for (int k = 0; k < kDim / 64; ++k) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t a[2][4];
        if constexpr (kHoldQueries) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            a[0][i] = held[k * 4 + half * 2][i];
            a[1][i] = held[k * 4 + half * 2 + 1][i];
          }
        } else {
          LoadMatrix4(a[0], q_address[half * 2] + k * 128);
          LoadMatrix4(a[1], q_address[half * 2 + 1] + k * 128);
        }
#pragma unroll
        for (int i = 0; i < kScoreTiles; ++i) {
          uint32_t b[4];
          LoadMatrix4(b, score_address[half] + stage + i * 8 * kRowBytes + k * 128);
          Mma<T>(scores[i][0], a[0][0], a[0][1], a[0][2], a[0][3], b[0], b[1]);
          Mma<T>(scores[i][1], a[1][0], a[1][1], a[1][2], a[1][3], b[2], b[3]);
        }
      }
    }
    float part[2] = {-CUDART_INF_F, -CUDART_INF_F};
#pragma unroll
    for (int i = 0; i < kScoreTiles; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int key = n * kKeys + (key_part * kScoreTiles + i) * 8 + 2 * t + c % 2;
        scores[i][0][c] = key < key_end ? (scores[i][0][c] + scores[i][1][c]) * scale : -CUDART_INF_F;
        part[c / 2] = fmaxf(part[c / 2], scores[i][0][c]);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      part[half] = fmaxf(part[half], __shfl_xor_sync(0xffffffffu, part[half], 1));
      part[half] = fmaxf(part[half], __shfl_xor_sync(0xffffffffu, part[half], 2));
      if (t == 0) parts[key_part * kRows + row_tile * 16 + g + half * 8] = part[half];
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row_tile * 16 + g + half * 8;
      float new_top = top[half];
#pragma unroll
      for (int other = 0; other < kKeyParts; ++other) new_top = fmaxf(new_top, parts[other * kRows + row]);
      // A tile has at least one visible key: new_top is finite.
      const float shrink = exp2f(top[half] - new_top);
      top[half] = new_top;
      total[half] *= shrink;
      if (key_part == 0 && t == 0) shrinks[row] = shrink;
#pragma unroll
      for (int i = 0; i < kScoreTiles; ++i) {
        const float low = exp2f(scores[i][0][2 * half] - new_top), high = exp2f(scores[i][0][2 * half + 1] - new_top);
        total[half] += low + high;
        *reinterpret_cast<uint32_t*>(p_shared + row * kProbabilityPitch + (key_part * kScoreTiles + i) * 8 + 2 * t) = PackPair<T>(low, high);
      }
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const float low = shrinks[m * 16 + g], high = shrinks[m * 16 + g + 8];
#pragma unroll
      for (int i = 0; i < kColumns / 8; ++i) {
        out[m][i][0] *= low;
        out[m][i][1] *= low;
        out[m][i][2] *= high;
        out[m][i][3] *= high;
      }
    }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
        LoadMatrix4(a[m], SharedAddress(p_shared + (m * 16 + lane % 16) * kProbabilityPitch + k * 16 + lane / 16 * 8));
#pragma unroll
      for (int pair = 0; pair < kColumns / 16; ++pair) {
        uint32_t b[4];
        LoadMatrix4Transposed(b, value_address[pair] + stage + k * 16 * kRowBytes);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          Mma<T>(out[m][2 * pair], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          Mma<T>(out[m][2 * pair + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
    __syncthreads();
    if (n + 2 < tile_end) start_copy(n + 2, upcoming);
    CopyAsyncCommit();
  }
  CopyAsyncWait<0>();

  // The sums of the key parts, then the rows' tops for everyone.
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    const int row = row_tile * 16 + g + half * 8;
    if (t == 0) parts[key_part * kRows + row] = total[half];
    if (t == 0 && key_part == 0) shrinks[row] = top[half];
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = m * 16 + g + half * 8, head = first_head + row;
      if (head >= p.heads) continue;
      float sum = 0.0f;
#pragma unroll
      for (int other = 0; other < kKeyParts; ++other) sum += parts[other * kRows + row];
      const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
      const float lse = sum > 0.0f ? shrinks[row] + log2f(sum) : -CUDART_INF_F;
      const int64_t item = static_cast<int64_t>(token) * p.heads + head;
      const int column = warp * kColumns + 2 * t;
      if (p.num_splits > 1) {
        float* place = p.partial_out + (static_cast<int64_t>(split) * p.tokens * p.heads + item) * kMlaLatent + column;
#pragma unroll
        for (int i = 0; i < kColumns / 8; ++i)
          *reinterpret_cast<float2*>(place + i * 8) = make_float2(out[m][i][2 * half] * inverse, out[m][i][2 * half + 1] * inverse);
        if (warp == 0 && t == 0) p.partial_lse[item * p.num_splits + split] = lse;
      } else {
        T* place = static_cast<T*>(p.out) + item * kMlaLatent + column;
#pragma unroll
        for (int i = 0; i < kColumns / 8; ++i)
          *reinterpret_cast<uint32_t*>(place + i * 8) = PackPair<T>(out[m][i][2 * half] * inverse, out[m][i][2 * half + 1] * inverse);
        if (warp == 0 && t == 0 && p.lse != nullptr) p.lse[item] = lse * kLn2;
      }
    }
  }
}

template <typename T, int kRowTiles>
void Launch(const AttentionParams& p, cudaStream_t stream) {
  constexpr int kBytes = SharedBytes<kRowTiles>();
  cudaFuncSetAttribute(MlaDecodeKernel<T, kRowTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  LaunchKernel(MlaDecodeKernel<T, kRowTiles>, dim3(MlaRowTiles(p.heads), p.tokens, p.num_splits), kThreads, kBytes, stream, p);
}

}  // namespace

int MlaRowTiles(int heads) { return heads <= 16 ? 1 : (heads + 63) / 64; }

void LaunchMlaDecode(const AttentionParams& p, cudaStream_t stream) {
  const bool narrow = p.heads <= 16;
  if (p.dtype == Dtype::kBf16) {
    narrow ? Launch<__nv_bfloat16, 1>(p, stream) : Launch<__nv_bfloat16, 4>(p, stream);
  } else {
    narrow ? Launch<__half, 1>(p, stream) : Launch<__half, 4>(p, stream);
  }
}

}  // namespace fathom::cuda
