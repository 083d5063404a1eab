#include "cuda/cache/store_rows_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 128, kPieces = 4;

// A thread kPieces pieces of rows, kThreads apart; P is as wide as everything's alignment allows.
template <typename P>
__global__ __launch_bounds__(kThreads) void StoreRowsKernel(const __grid_constant__ StoreRowsParams p, uint32_t total, uint32_t pieces_a_row) {
  LetNextStart();
  WaitForPrevious();
  const uint32_t first = blockIdx.x * (kThreads * kPieces) + threadIdx.x;
  const auto place_of = [&](int i, uint32_t& token) {  // in bytes, within the row
    const uint32_t index = first + i * kThreads;
    token = index / pieces_a_row;
    return static_cast<int>((index - token * pieces_a_row) * sizeof(P));
  };
  P pieces[kPieces];
  int64_t slots[kPieces];
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    uint32_t token;
    const int at = place_of(i, token);
    if (first + i * kThreads >= total) continue;
    slots[i] = p.slots[token];
    pieces[i] = *reinterpret_cast<const P*>(at < p.a_bytes ? static_cast<const char*>(p.a) + token * p.a_stride + at
                                                           : static_cast<const char*>(p.b) + token * p.b_stride + at - p.a_bytes);
  }
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    uint32_t token;
    const int at = place_of(i, token);
    if (first + i * kThreads < total) *reinterpret_cast<P*>(static_cast<char*>(p.cache) + slots[i] * (static_cast<int64_t>(p.a_bytes) + p.b_bytes) + at) = pieces[i];
  }
}

template <typename P>
void Launch(const StoreRowsParams& p, cudaStream_t stream) {
  const uint32_t pieces = static_cast<uint32_t>((p.a_bytes + p.b_bytes) / sizeof(P)), total = static_cast<uint32_t>(p.tokens) * pieces;
  constexpr uint32_t kABlock = kThreads * kPieces;
  if (total > 0) LaunchKernel(StoreRowsKernel<P>, (total + kABlock - 1) / kABlock, kThreads, 0, stream, p, total, pieces);
}

}  // namespace

void LaunchStoreRows(const StoreRowsParams& p, cudaStream_t stream) {
  const uint64_t all = reinterpret_cast<uint64_t>(p.cache) | reinterpret_cast<uint64_t>(p.a) | reinterpret_cast<uint64_t>(p.b) |
                       static_cast<uint64_t>(p.a_stride) | static_cast<uint64_t>(p.b_stride) | static_cast<uint64_t>(p.a_bytes) |
                       static_cast<uint64_t>(p.b_bytes);
  if (all % 16 == 0) Launch<uint4>(p, stream);
  else if (all % 4 == 0) Launch<uint32_t>(p, stream);
  else Launch<uint16_t>(p, stream);
}

}  // namespace fathom::cuda
