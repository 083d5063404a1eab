// A stable counting sort of the choices by expert. A warp takes a run of choices; within it __match_any_sync ranks 32 at a time.
#include "cuda/experts/experts_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kChunk = 512;          // choices a warp of the many-block form
constexpr int kOneBlockLimit = 4096;  // choices that one block sorts alone
constexpr int kMaxWarps = 8;

// counts[e] += occurrences of e in choices [begin, end), by one warp.
__device__ void CountRun(const int32_t* topk_idx, int begin, int end, int* counts) {
  const int lane = threadIdx.x % 32;
  for (int base = begin; base < end; base += 32) {
    const int i = base + lane;
    const int expert = i < end ? topk_idx[i] : -1;
    const unsigned peers = __match_any_sync(0xffffffffu, expert);
    if (expert >= 0 && __ffs(peers) - 1 == lane) counts[expert] += __popc(peers);
    __syncwarp();
  }
}

// order[next[e]++] = i for the choices of a run, in order, by one warp.
__device__ void PlaceRun(const int32_t* topk_idx, int begin, int end, int* next, int32_t* order) {
  const int lane = threadIdx.x % 32;
  for (int base = begin; base < end; base += 32) {
    const int i = base + lane;
    const int expert = i < end ? topk_idx[i] : -1;
    const unsigned peers = __match_any_sync(0xffffffffu, expert);
    if (expert >= 0) order[next[expert] + __popc(peers & ((1u << lane) - 1))] = i;
    __syncwarp();
    if (expert >= 0 && __ffs(peers) - 1 == lane) next[expert] += __popc(peers);
    __syncwarp();
  }
}

// Turns the counts of an expert in each run into those before the run, and leaves their sum in totals.
__device__ void SumRuns(int* counts, int runs, int experts, int* totals) {
  if (runs <= kMaxWarps) {  // a thread an expert
    for (int e = threadIdx.x; e < experts; e += blockDim.x) {
      int sum = 0;
      for (int run = 0; run < runs; ++run) {
        const int count = counts[run * experts + e];
        counts[run * experts + e] = sum;
        sum += count;
      }
      totals[e] = sum;
    }
    return;
  }
  const int lane = threadIdx.x % 32;  // a warp an expert
  for (int e = threadIdx.x / 32; e < experts; e += blockDim.x / 32) {
    int before = 0;
    for (int base = 0; base < runs; base += 32) {
      const int run = base + lane;
      const int count = run < runs ? counts[run * experts + e] : 0;
      int inclusive = count;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const int other = __shfl_up_sync(0xffffffffu, inclusive, offset);
        if (lane >= offset) inclusive += other;
      }
      if (run < runs) counts[run * experts + e] = before + inclusive - count;
      before += __shfl_sync(0xffffffffu, inclusive, 31);
    }
    if (lane == 0) totals[e] = before;
  }
}

// Turns counts [runs][experts] into the first place of each run of each expert, and writes offsets. One block; totals holds `experts` ints.
__device__ void ScanCounts(int* counts, int runs, int experts, int* totals, int32_t* offsets) {
  SumRuns(counts, runs, experts, totals);
  __syncthreads();
  if (threadIdx.x < 32) {
    int before = 0;
    for (int base = 0; base < experts; base += 32) {
      const int e = base + static_cast<int>(threadIdx.x);
      const int total = e < experts ? totals[e] : 0;
      int inclusive = total;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const int other = __shfl_up_sync(0xffffffffu, inclusive, offset);
        if (static_cast<int>(threadIdx.x) >= offset) inclusive += other;
      }
      if (e < experts) {
        totals[e] = before + inclusive - total;
        offsets[e] = before + inclusive - total;
      }
      before += __shfl_sync(0xffffffffu, inclusive, 31);
    }
    if (threadIdx.x == 0) offsets[experts] = before;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < runs * experts; i += blockDim.x) counts[i] += totals[i % experts];
  __syncthreads();
}

__global__ void SortOneBlock(SortByExpertParams p) {
  extern __shared__ int shared[];
  LetNextStart();
  WaitForPrevious();
  const int warps = blockDim.x / 32, warp = threadIdx.x / 32;
  int* totals = shared + warps * p.experts;
  for (int i = threadIdx.x; i < warps * p.experts; i += blockDim.x) shared[i] = 0;
  __syncthreads();
  const int run = ((p.choices + warps - 1) / warps + 31) / 32 * 32;
  const int begin = min(p.choices, warp * run), end = min(p.choices, begin + run);
  CountRun(p.topk_idx, begin, end, shared + warp * p.experts);
  __syncthreads();
  ScanCounts(shared, warps, p.experts, totals, p.offsets);
  PlaceRun(p.topk_idx, begin, end, shared + warp * p.experts, p.order);
}

__global__ void CountChunks(SortByExpertParams p) {
  extern __shared__ int shared[];
  for (int e = threadIdx.x; e < p.experts; e += 32) shared[e] = 0;
  __syncwarp();
  const int begin = blockIdx.x * kChunk;
  CountRun(p.topk_idx, begin, min(p.choices, begin + kChunk), shared);
  for (int e = threadIdx.x; e < p.experts; e += 32) p.counts[static_cast<int64_t>(blockIdx.x) * p.experts + e] = shared[e];
}

__global__ void ScanChunks(SortByExpertParams p, int chunks) {
  extern __shared__ int shared[];
  ScanCounts(p.counts, chunks, p.experts, shared, p.offsets);
}

__global__ void PlaceChunks(SortByExpertParams p) {
  extern __shared__ int shared[];
  for (int e = threadIdx.x; e < p.experts; e += 32) shared[e] = p.counts[static_cast<int64_t>(blockIdx.x) * p.experts + e];
  __syncwarp();
  const int begin = blockIdx.x * kChunk;
  PlaceRun(p.topk_idx, begin, min(p.choices, begin + kChunk), shared, p.order);
}

__global__ void InverseKernel(const int32_t* order, int32_t* position, int choices) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < choices) position[order[i]] = i;
}

}  // namespace

int NumSortChunks(int choices) { return choices <= kOneBlockLimit ? 1 : (choices + kChunk - 1) / kChunk; }

void LaunchSortByExpert(const SortByExpertParams& p, cudaStream_t stream) {
  const size_t row = static_cast<size_t>(p.experts) * sizeof(int);
  const int chunks = NumSortChunks(p.choices);
  if (chunks == 1) {
    int warps = 1;
    while (warps < kMaxWarps && warps * 64 < p.choices && (warps * 2 + 1) * row <= 48 * 1024) warps *= 2;
    LaunchKernel(SortOneBlock, 1, warps * 32, (warps + 1) * row, stream, p);
    return;
  }
  CountChunks<<<chunks, 32, row, stream>>>(p);
  ScanChunks<<<1, 1024, row, stream>>>(p, chunks);
  PlaceChunks<<<chunks, 32, row, stream>>>(p);
}

void LaunchInverse(const int32_t* order, int32_t* position, int choices, cudaStream_t stream) {
  InverseKernel<<<(choices + 255) / 256, 256, 0, stream>>>(order, position, choices);
}

}  // namespace fathom::cuda
