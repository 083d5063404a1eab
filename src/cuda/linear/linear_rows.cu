#include "cuda/linear/linear_rows_kernel.h"
#include "cuda/launch.cuh"
#include "cuda/linear/row_products.cuh"

namespace fathom::cuda {
namespace {

template <typename T, int kColumnTiles, bool kAligned>
__global__ __launch_bounds__(kRowProductWarps * 32, 2) void LinearRowsKernel(const T* x, const T* w, const T* bias, T* y, int m, int n, int k,
                                                                            int early_blocks) {
  __shared__ float partial[kRowProductWarps][8 * kColumnTiles][kRowProductTile + 1];
  const int n0 = blockIdx.x * kRowProductTile;
  LetNextStart();
  // The weight does not depend on the kernel before: blocks that find a place while it runs send for theirs.
  if (kAligned && blockIdx.x < early_blocks && threadIdx.x < kRowProductTile && n0 + threadIdx.x < n)
    PrefetchToL2(w + static_cast<int64_t>(n0 + threadIdx.x) * k, k * static_cast<int>(sizeof(T)));
  WaitForPrevious();
  RowProducts<T, kColumnTiles, kAligned>(x, k, m, w, n0, n, k, partial);
  for (int i = threadIdx.x; i < m * kRowProductTile; i += blockDim.x) {
    const int column = i / kRowProductTile, row = i % kRowProductTile;
    if (n0 + row >= n) continue;
    const float sum = partial[0][column][row] + (bias == nullptr ? 0.0f : ToFloat(bias[n0 + row]));
    y[static_cast<int64_t>(column) * n + n0 + row] = FromFloat<T>(sum);
  }
}

template <typename T>
void LaunchTensorCores(const LinearRowsParams& p, cudaStream_t stream) {
  const dim3 grid((p.n + kRowProductTile - 1) / kRowProductTile), block(kRowProductWarps * 32);
  const auto* x = static_cast<const T*>(p.x);
  const auto* w = static_cast<const T*>(p.w);
  const auto* bias = static_cast<const T*>(p.bias);
  auto* y = static_cast<T*>(p.y);
  if (p.k % 8 != 0 || !IsAligned16(x) || !IsAligned16(w)) {
    LaunchKernel(LinearRowsKernel<T, 2, false>, grid, block, 0, stream, x, w, bias, y, p.m, p.n, p.k, 0);
  } else if (p.m <= 8) {
    LaunchKernel(LinearRowsKernel<T, 1, true>, grid, block, 0, stream, x, w, bias, y, p.m, p.n, p.k, p.early_blocks);
  } else {
    LaunchKernel(LinearRowsKernel<T, 2, true>, grid, block, 0, stream, x, w, bias, y, p.m, p.n, p.k, p.early_blocks);
  }
}

template <typename W, int kRows>
__global__ __launch_bounds__(kPlainThreads) void PlainLinearRowsKernel(const float* x, const W* w, const W* bias, float* y, int m, int n, int k) {
  __shared__ float scratch[32];
  float sums[kRows];
  const int row = blockIdx.x;
  LetNextStart();
  WaitForPrevious();
  PlainRowProducts<float, W, kRows>(x, k, m, w + static_cast<int64_t>(row) * k, k, sums, scratch);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (i < m && threadIdx.x == i) y[static_cast<int64_t>(i) * n + row] = sums[i] + (bias == nullptr ? 0.0f : ToFloat(bias[row]));
  }
}

template <typename W>
void LaunchPlain(const LinearRowsParams& p, cudaStream_t stream) {
  const auto* x = static_cast<const float*>(p.x);
  const auto* w = static_cast<const W*>(p.w);
  const auto* bias = static_cast<const W*>(p.bias);
  auto* y = static_cast<float*>(p.y);
  if (p.m <= 2) {
    LaunchKernel(PlainLinearRowsKernel<W, 2>, p.n, kPlainThreads, 0, stream, x, w, bias, y, p.m, p.n, p.k);
  } else {
    LaunchKernel(PlainLinearRowsKernel<W, 16>, p.n, kPlainThreads, 0, stream, x, w, bias, y, p.m, p.n, p.k);
  }
}

}  // namespace

void LaunchLinearRows(const LinearRowsParams& p, cudaStream_t stream) {
  if (p.x_dtype == Dtype::kBf16) return LaunchTensorCores<__nv_bfloat16>(p, stream);
  if (p.x_dtype == Dtype::kF16) return LaunchTensorCores<__half>(p, stream);
  if (p.w_dtype == Dtype::kBf16) return LaunchPlain<__nv_bfloat16>(p, stream);
  LaunchPlain<float>(p, stream);
}

}  // namespace fathom::cuda
