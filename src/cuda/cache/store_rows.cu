#include "cuda/cache/store_rows_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

// A block a token; P is as wide as everything's alignment allows.
template <typename P>
__global__ void StoreRowsKernel(StoreRowsParams p) {
  constexpr int kSize = sizeof(P);
  LetNextStart();
  WaitForPrevious();
  const int64_t token = blockIdx.x;
  char* row = static_cast<char*>(p.cache) + p.slots[token] * (static_cast<int64_t>(p.a_bytes) + p.b_bytes);
  const char* a = static_cast<const char*>(p.a) + token * p.a_stride;
  const char* b = static_cast<const char*>(p.b) + token * p.b_stride;
  for (int at = threadIdx.x * kSize; at < p.a_bytes + p.b_bytes; at += blockDim.x * kSize)
    *reinterpret_cast<P*>(row + at) = *reinterpret_cast<const P*>(at < p.a_bytes ? a + at : b + at - p.a_bytes);
}

}  // namespace

void LaunchStoreRows(const StoreRowsParams& p, cudaStream_t stream) {
  const uint64_t all = reinterpret_cast<uint64_t>(p.cache) | reinterpret_cast<uint64_t>(p.a) | reinterpret_cast<uint64_t>(p.b) |
                       static_cast<uint64_t>(p.a_stride) | static_cast<uint64_t>(p.b_stride) | static_cast<uint64_t>(p.a_bytes) |
                       static_cast<uint64_t>(p.b_bytes);
  if (all % 16 == 0) LaunchKernel(StoreRowsKernel<uint4>, p.tokens, 128, 0, stream, p);
  else if (all % 4 == 0) LaunchKernel(StoreRowsKernel<uint32_t>, p.tokens, 128, 0, stream, p);
  else LaunchKernel(StoreRowsKernel<uint16_t>, p.tokens, 128, 0, stream, p);
}

}  // namespace fathom::cuda
