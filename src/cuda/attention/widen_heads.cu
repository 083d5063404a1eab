#include "cuda/attention/widen_heads_kernel.h"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;

// A thread a head's piece of 16 bytes; blockIdx.y walks over the tokens.
__global__ __launch_bounds__(kThreads) void WidenHeadsKernel(const __grid_constant__ WidenHeadsParams p) {
  const int item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= p.heads * p.width) return;
  const int head = item / p.width, piece = item - head * p.width;
  const uint4* const from = static_cast<const uint4*>(p.x) + head * p.head_stride + piece;
  uint4* const to = static_cast<uint4*>(p.y) + item;
  const int64_t row = static_cast<int64_t>(p.heads) * p.width;
#pragma unroll 4
  for (int64_t token = blockIdx.y; token < p.tokens; token += gridDim.y) {
    to[token * row] = piece < p.dim ? from[token * p.token_stride] : make_uint4(0, 0, 0, 0);
  }
}

}  // namespace

void LaunchWidenHeads(const WidenHeadsParams& p, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>((p.heads * p.width + kThreads - 1) / kThreads);
  const unsigned walkers = static_cast<unsigned>(p.tokens < 8192 ? p.tokens : 8192);
  WidenHeadsKernel<<<dim3(blocks, walkers), kThreads, 0, stream>>>(p);
}

}  // namespace fathom::cuda
