#include "cuda/adamw/adamw_kernel.h"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kValues = 4;  // of a thread at a time

template <typename T>
struct alignas(sizeof(T) * kValues) Pack {
  T values[kValues];
};

__device__ __forceinline__ bool Aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

__device__ __forceinline__ int FindTensor(const TensorTable& table, int block) {
  int low = 0, high = table.num_tensors;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    table.first_block[middle] <= block ? low = middle : high = middle;
  }
  return low;
}

template <typename T>
__global__ __launch_bounds__(kThreads) void SquaresKernel(const __grid_constant__ SquaresParams p) {
  __shared__ float scratch[32];
  const int tensor = FindTensor(p.table, blockIdx.x);
  const int64_t begin = static_cast<int64_t>(blockIdx.x - p.table.first_block[tensor]) * kBlockValues;
  const int64_t count = min(static_cast<int64_t>(kBlockValues), p.table.numel[tensor] - begin);
  const T* g = static_cast<const T*>(p.gradients[tensor]) + begin;
  float sum = 0.0f;
  const int packs = Aligned(g) ? static_cast<int>(count / Vec<T>::kSize) : 0;
  for (int i = threadIdx.x; i < packs; i += kThreads) {
    const Vec<T> values = LoadVec(g + i * Vec<T>::kSize);
#pragma unroll
    for (int j = 0; j < Vec<T>::kSize; ++j) sum = fmaf(ToFloat(values.values[j]), ToFloat(values.values[j]), sum);
  }
  for (int64_t i = packs * Vec<T>::kSize + threadIdx.x; i < count; i += kThreads) sum = fmaf(ToFloat(g[i]), ToFloat(g[i]), sum);
  sum = BlockSum(sum, scratch);
  if (threadIdx.x == 0) p.partial[blockIdx.x] = sum;
}

__global__ __launch_bounds__(1024) void NormKernel(const double* partial, int count, float* norm) {
  __shared__ double sums[1024];
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += 1024) sum += partial[i];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int width = 512; width > 0; width /= 2) {
    if (static_cast<int>(threadIdx.x) < width) sums[threadIdx.x] += sums[threadIdx.x + width];
    __syncthreads();
  }
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(sums[0]));
}

template <typename W, typename G, typename M, bool kMasters>
__global__ __launch_bounds__(kThreads) void AdamWKernel(const __grid_constant__ AdamWParams p) {
  const float scale = ops::ClipScale(*p.norm, p.scalars.max_norm);
  if (scale < 0.0f) return;
  const int tensor = FindTensor(p.table, blockIdx.x);
  const int64_t begin = static_cast<int64_t>(blockIdx.x - p.table.first_block[tensor]) * kBlockValues;
  const int64_t count = min(static_cast<int64_t>(kBlockValues), p.table.numel[tensor] - begin);
  W* w = static_cast<W*>(p.weights[tensor]) + begin;
  const G* g = static_cast<const G*>(p.gradients[tensor]) + begin;
  M* m = static_cast<M*>(p.first_moments[tensor]) + begin;
  M* v = static_cast<M*>(p.second_moments[tensor]) + begin;
  float* master = kMasters ? p.masters[tensor] + begin : nullptr;
  const bool aligned = Aligned(w) && Aligned(g) && Aligned(m) && Aligned(v) && Aligned(master);
  const int packs = aligned ? static_cast<int>(count / kValues) : 0;
#pragma unroll 2
  for (int i = threadIdx.x; i < packs; i += kThreads) {
    Pack<W> weights;
    Pack<float> wide;
    if constexpr (kMasters) wide = reinterpret_cast<const Pack<float>*>(master)[i];
    else weights = reinterpret_cast<const Pack<W>*>(w)[i];
    const Pack<G> gradients = reinterpret_cast<const Pack<G>*>(g)[i];
    Pack<M> first = reinterpret_cast<const Pack<M>*>(m)[i], second = reinterpret_cast<const Pack<M>*>(v)[i];
#pragma unroll
    for (int j = 0; j < kValues; ++j) {
      float a = ToFloat(first.values[j]), b = ToFloat(second.values[j]);
      const float before = kMasters ? wide.values[j] : ToFloat(weights.values[j]);
      const float after = ops::AdamWStep(before, ToFloat(gradients.values[j]) * scale, a, b, p.scalars);
      first.values[j] = FromFloat<M>(a);
      second.values[j] = FromFloat<M>(b);
      wide.values[j] = after;
      weights.values[j] = FromFloat<W>(after);
    }
    if constexpr (kMasters) reinterpret_cast<Pack<float>*>(master)[i] = wide;
    reinterpret_cast<Pack<W>*>(w)[i] = weights;
    reinterpret_cast<Pack<M>*>(m)[i] = first;
    reinterpret_cast<Pack<M>*>(v)[i] = second;
  }
  for (int64_t i = packs * kValues + threadIdx.x; i < count; i += kThreads) {
    float a = ToFloat(m[i]), b = ToFloat(v[i]);
    const float before = kMasters ? master[i] : ToFloat(w[i]);
    const float after = ops::AdamWStep(before, ToFloat(g[i]) * scale, a, b, p.scalars);
    m[i] = FromFloat<M>(a);
    v[i] = FromFloat<M>(b);
    if constexpr (kMasters) master[i] = after;
    w[i] = FromFloat<W>(after);
  }
}

template <typename W, typename G, typename M>
void Launch(const AdamWParams& p, cudaStream_t stream) {
  const int blocks = p.table.first_block[p.table.num_tensors];
  const auto run = [&](auto kernel) { kernel<<<blocks, kThreads, 0, stream>>>(p); };
  p.has_masters ? run(AdamWKernel<W, G, M, true>) : run(AdamWKernel<W, G, M, false>);
}

}  // namespace

void LaunchSquares(const SquaresParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    SquaresKernel<typename decltype(type)::type><<<p.table.first_block[p.table.num_tensors], kThreads, 0, stream>>>(p);
  });
}

void LaunchNorm(const double* partial, int count, float* norm, cudaStream_t stream) { NormKernel<<<1, 1024, 0, stream>>>(partial, count, norm); }

void LaunchAdamW(const AdamWParams& p, cudaStream_t stream) {
  DispatchDtype(p.weight_dtype, [&](auto type) {
    using W = typename decltype(type)::type;
    const bool wide_gradient = p.gradient_dtype == Dtype::kF32, wide_moment = p.moment_dtype == Dtype::kF32;
    if (wide_gradient && wide_moment) Launch<W, float, float>(p, stream);
    else if (wide_gradient) Launch<W, float, __nv_bfloat16>(p, stream);
    else if (wide_moment) Launch<W, W, float>(p, stream);
    else Launch<W, W, __nv_bfloat16>(p, stream);
  });
}

}  // namespace fathom::cuda
