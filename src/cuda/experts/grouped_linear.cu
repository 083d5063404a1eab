#include "cuda/experts/experts_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/linear/row_products.cuh"

namespace fathom::cuda {
namespace {

// Block (tile of n, slot): each expert with rows reads its part of the weight once a 16 rows.
template <typename T, int kColumnTiles, bool kAligned>
__global__ __launch_bounds__(kRowProductWarps * 32, 2) void GroupedRowsKernel(const T* x, const T* w, T* y, const int32_t* offsets, int n, int k,
                                                                             int experts, bool slot_is_row) {
  __shared__ float partial[kRowProductWarps][8 * kColumnTiles][kRowProductTile + 1];
  __shared__ int found;
  LetNextStart();
  WaitForPrevious();
  const int expert = ExpertOfSlot(offsets, experts, slot_is_row, blockIdx.y, &found);
  if (expert < 0) return;
  const int begin = offsets[expert], end = offsets[expert + 1], n0 = blockIdx.x * kRowProductTile;
  const T* w_expert = w + static_cast<int64_t>(expert) * n * k;
  for (int row0 = begin; row0 < end; row0 += 8 * kColumnTiles) {
    const int num_rows = min(8 * kColumnTiles, end - row0);
    RowProducts<T, kColumnTiles, kAligned>(x + static_cast<int64_t>(row0) * k, k, num_rows, w_expert, n0, n, k, partial);
    for (int i = threadIdx.x; i < num_rows * kRowProductTile; i += blockDim.x) {
      const int column = i / kRowProductTile, row = i % kRowProductTile;
      if (n0 + row < n) y[static_cast<int64_t>(row0 + column) * n + n0 + row] = FromFloat<T>(partial[0][column][row]);
    }
    __syncthreads();
  }
}

constexpr int kPlainRows = 8;

__global__ __launch_bounds__(kPlainThreads) void PlainGroupedRowsKernel(const float* x, const float* w, float* y, const int32_t* offsets, int n, int k,
                                                                       int experts, bool slot_is_row) {
  __shared__ float scratch[32];
  __shared__ int found;
  LetNextStart();
  WaitForPrevious();
  const int expert = ExpertOfSlot(offsets, experts, slot_is_row, blockIdx.y, &found);
  if (expert < 0) return;
  const int begin = offsets[expert], end = offsets[expert + 1], row = blockIdx.x;
  const float* w_row = w + (static_cast<int64_t>(expert) * n + row) * k;
  for (int row0 = begin; row0 < end; row0 += kPlainRows) {
    float sums[kPlainRows];
    PlainRowProducts<float, float, kPlainRows>(x + static_cast<int64_t>(row0) * k, k, min(kPlainRows, end - row0), w_row, k, sums, scratch);
#pragma unroll
    for (int i = 0; i < kPlainRows; ++i) {
      if (row0 + i < end && threadIdx.x == i) y[static_cast<int64_t>(row0 + i) * n + row] = sums[i];
    }
  }
}

template <typename T>
void LaunchRows(const GroupedLinearParams& p, cudaStream_t stream) {
  const bool slot_is_row = p.rows < p.experts;
  const unsigned slots = slot_is_row ? p.rows : p.experts;
  const auto* x = static_cast<const T*>(p.a);
  const auto* w = static_cast<const T*>(p.b);
  auto* y = static_cast<T*>(p.out);
  if constexpr (sizeof(T) == 4) {
    LaunchKernel(PlainGroupedRowsKernel, dim3(p.n, slots), kPlainThreads, 0, stream, x, w, y, p.offsets, p.n, p.k, p.experts, slot_is_row);
  } else {
    const dim3 grid((p.n + kRowProductTile - 1) / kRowProductTile, slots);
    const auto run = [&](auto kernel) { LaunchKernel(kernel, grid, kRowProductWarps * 32, 0, stream, x, w, y, p.offsets, p.n, p.k, p.experts, slot_is_row); };
    if (p.k % 8 != 0 || !IsAligned16(x) || !IsAligned16(w)) {
      run(GroupedRowsKernel<T, 2, false>);
    } else {
      // No expert has more rows than there are tokens: with few rows in all, half the tile suffices.
      p.rows <= 4 * p.experts ? run(GroupedRowsKernel<T, 1, true>) : run(GroupedRowsKernel<T, 2, true>);
    }
  }
}

// The gradients on the plain arithmetic units, for every dtype and shape: tiles of 32 x 32 outputs, 32 terms at a time.
constexpr int kTile = 32;

// dx [rows of e, k] = dy [rows of e, n] w[e] [n, k].
template <typename T>
__global__ void DgradKernel(const T* dy, const T* w, T* dx, const int32_t* offsets, int n, int k) {
  __shared__ float a[kTile][kTile + 1], b[kTile][kTile + 1];
  const int expert = blockIdx.z, begin = offsets[expert], end = offsets[expert + 1];
  const int column = blockIdx.x * kTile + threadIdx.x;
  const T* w_expert = w + static_cast<int64_t>(expert) * n * k;
  for (int row0 = begin + blockIdx.y * kTile; row0 < end; row0 += gridDim.y * kTile) {
    float sums[4] = {};
    for (int n0 = 0; n0 < n; n0 += kTile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int y = threadIdx.y + i * 8, term = n0 + static_cast<int>(threadIdx.x);
        a[y][threadIdx.x] = row0 + y < end && term < n ? ToFloat(dy[static_cast<int64_t>(row0 + y) * n + term]) : 0.0f;
        b[y][threadIdx.x] = n0 + y < n && column < k ? ToFloat(w_expert[static_cast<int64_t>(n0 + y) * k + column]) : 0.0f;
      }
      __syncthreads();
#pragma unroll
      for (int term = 0; term < kTile; ++term) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i] = fmaf(a[threadIdx.y + i * 8][term], b[term][threadIdx.x], sums[i]);
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = row0 + static_cast<int>(threadIdx.y) + i * 8;
      if (row < end && column < k) dx[static_cast<int64_t>(row) * k + column] = FromFloat<T>(sums[i]);
    }
  }
}

// dw[e] [n, k] = dy[rows of e]^T x[rows of e]; zeros for an expert without rows.
template <typename T>
__global__ void WgradKernel(const T* dy, const T* x, T* dw, const int32_t* offsets, int n, int k) {
  __shared__ float a[kTile][kTile + 1], b[kTile][kTile + 1];
  const int expert = blockIdx.z, begin = offsets[expert], end = offsets[expert + 1];
  const int column = blockIdx.x * kTile + threadIdx.x, n0 = blockIdx.y * kTile;
  float sums[4] = {};
  for (int row0 = begin; row0 < end; row0 += kTile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = row0 + static_cast<int>(threadIdx.y) + i * 8, out = n0 + static_cast<int>(threadIdx.x);
      a[threadIdx.y + i * 8][threadIdx.x] = row < end && out < n ? ToFloat(dy[static_cast<int64_t>(row) * n + out]) : 0.0f;
      b[threadIdx.y + i * 8][threadIdx.x] = row < end && column < k ? ToFloat(x[static_cast<int64_t>(row) * k + column]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int term = 0; term < kTile; ++term) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[i] = fmaf(a[term][threadIdx.y + i * 8], b[term][threadIdx.x], sums[i]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int out = n0 + static_cast<int>(threadIdx.y) + i * 8;
    if (out < n && column < k) dw[(static_cast<int64_t>(expert) * n + out) * k + column] = FromFloat<T>(sums[i]);
  }
}

}  // namespace

void LaunchGroupedLinear(const GroupedLinearParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) { LaunchRows<typename decltype(type)::type>(p, stream); });
}

void LaunchGroupedLinearDgrad(const GroupedLinearParams& p, cudaStream_t stream) {
  // The rows of an expert are known to the device alone: its blocks walk over them.
  const int row_blocks = p.rows / p.experts / kTile + 1;
  const dim3 grid((p.k + kTile - 1) / kTile, row_blocks, p.experts), block(kTile, 8);
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    DgradKernel<T><<<grid, block, 0, stream>>>(static_cast<const T*>(p.a), static_cast<const T*>(p.b), static_cast<T*>(p.out), p.offsets, p.n, p.k);
  });
}

void LaunchGroupedLinearWgrad(const GroupedLinearParams& p, cudaStream_t stream) {
  const dim3 grid((p.k + kTile - 1) / kTile, (p.n + kTile - 1) / kTile, p.experts), block(kTile, 8);
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    WgradKernel<T><<<grid, block, 0, stream>>>(static_cast<const T*>(p.a), static_cast<const T*>(p.b), static_cast<T*>(p.out), p.offsets, p.n, p.k);
  });
}

}  // namespace fathom::cuda
