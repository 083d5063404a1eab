#include "cuda/mla_training/mla_training_kernel.h"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

// A block a token. A thread moves kSize values: as they are before the tail; in the tail a thread has kSize / 2 pairs.
template <typename T, int kSize, bool kBackward>
__global__ void RopeTailKernel(RopeTailParams p) {
  using P = Pack<T, kSize>;
  const int64_t token = blockIdx.x;
  const T* x = static_cast<const T*>(p.x) + token * p.heads * p.dim;
  T* y = static_cast<T*>(p.y) + token * p.heads * p.dim;
  const float* cos = p.cos + token * p.half;
  const float* sin = p.sin + token * p.half;
  const int packs = p.dim / kSize, head_packs = packs - 2 * p.half / kSize;
  for (int i = threadIdx.x; i < p.heads * packs; i += blockDim.x) {
    const int head = i / packs, pack = i % packs;
    const T* in = x + head * p.dim;
    T* out = y + head * p.dim;
    if (pack < head_packs) {
      reinterpret_cast<P*>(out)[pack] = reinterpret_cast<const P*>(in)[pack];
      continue;
    }
    in += head_packs * kSize;
    out += head_packs * kSize;
    const int first_pair = (pack - head_packs) * (kSize / 2);
#pragma unroll
    for (int j = 0; j < kSize / 2; ++j) {
      const int pair = first_pair + j;
      const float c = cos[pair], s = sin[pair];
      const int first = p.interleaved ? 2 * pair : pair, second = p.interleaved ? 2 * pair + 1 : pair + p.half;
      if constexpr (kBackward) {
        const float a = ToFloat(in[pair]), b = ToFloat(in[pair + p.half]);
        out[first] = FromFloat<T>(a * c + b * s);
        out[second] = FromFloat<T>(b * c - a * s);
      } else {
        const float a = ToFloat(in[first]), b = ToFloat(in[second]);
        out[pair] = FromFloat<T>(a * c - b * s);
        out[pair + p.half] = FromFloat<T>(b * c + a * s);
      }
    }
  }
}

template <typename P>
__global__ void MlaKeysKernel(const P* kv, const P* k_rope, P* k, int heads, int nope, int rope, int v) {
  const int64_t token = blockIdx.x;
  const int width = nope + rope;
  kv += token * heads * (nope + v);
  k_rope += token * rope;
  k += token * heads * width;
  for (int i = threadIdx.x; i < heads * width; i += blockDim.x) {
    const int head = i / width, column = i % width;
    k[i] = column < nope ? kv[head * (nope + v) + column] : k_rope[column - nope];
  }
}

template <typename T, int kSize>
__global__ void MlaKeysBackwardKernel(const T* dk_all, const T* dv_all, T* dkv_all, T* dk_rope, int heads, int nope, int rope, int v) {
  using P = Pack<T, kSize>;
  const int64_t token = blockIdx.x;
  const T* dk = dk_all + token * heads * (nope + rope);
  const T* dv = dv_all + token * heads * v;
  P* dkv = reinterpret_cast<P*>(dkv_all + token * heads * (nope + v));
  const int width = (nope + v) / kSize, nope_packs = nope / kSize;
  for (int i = threadIdx.x; i < heads * width; i += blockDim.x) {
    const int head = i / width, column = i % width;
    dkv[i] = column < nope_packs ? reinterpret_cast<const P*>(dk + head * (nope + rope))[column]
                                 : reinterpret_cast<const P*>(dv + head * v)[column - nope_packs];
  }
  for (int i = threadIdx.x; i < rope; i += blockDim.x) {
    float sum = 0.0f;
    for (int head = 0; head < heads; ++head) sum += ToFloat(dk[head * (nope + rope) + nope + i]);
    dk_rope[token * rope + i] = FromFloat<T>(sum);
  }
}

constexpr int kThreads = 256;

}  // namespace

void LaunchRopeTail(const RopeTailParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    const bool vectors = p.dim % kSize == 0 && 2 * p.half % kSize == 0 && IsAligned16(p.x) && IsAligned16(p.y);
    const auto run = [&](auto kernel) { kernel<<<static_cast<unsigned>(p.tokens), kThreads, 0, stream>>>(p); };
    if (vectors) p.backward ? run(RopeTailKernel<T, kSize, true>) : run(RopeTailKernel<T, kSize, false>);
    else p.backward ? run(RopeTailKernel<T, 2, true>) : run(RopeTailKernel<T, 2, false>);
  });
}

void LaunchMlaKeys(const MlaKeysParams& p, cudaStream_t stream) {
  const int bytes = p.dtype == Dtype::kF32 ? 4 : 2;
  const auto run = [&](auto type) {
    using P = typename decltype(type)::type;
    const int scale = static_cast<int>(sizeof(P)) / bytes;
    MlaKeysKernel<P><<<static_cast<unsigned>(p.tokens), kThreads, 0, stream>>>(static_cast<const P*>(p.kv), static_cast<const P*>(p.k_rope),
                                                                              static_cast<P*>(p.k), p.heads, p.nope / scale, p.rope / scale, p.v / scale);
  };
  const bool vectors = p.nope * bytes % 16 == 0 && p.rope * bytes % 16 == 0 && p.v * bytes % 16 == 0 && IsAligned16(p.kv) && IsAligned16(p.k_rope) &&
                       IsAligned16(p.k);
  if (vectors) return run(Type<uint4>{});
  bytes == 4 ? run(Type<uint32_t>{}) : run(Type<uint16_t>{});
}

void LaunchMlaKeysBackward(const MlaKeysBackwardParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    const bool vectors = p.nope % kSize == 0 && p.rope % kSize == 0 && p.v % kSize == 0 && IsAligned16(p.dk) && IsAligned16(p.dv) && IsAligned16(p.dkv);
    const auto run = [&](auto kernel) {
      kernel<<<static_cast<unsigned>(p.tokens), kThreads, 0, stream>>>(static_cast<const T*>(p.dk), static_cast<const T*>(p.dv), static_cast<T*>(p.dkv),
                                                                      static_cast<T*>(p.dk_rope), p.heads, p.nope, p.rope, p.v);
    };
    vectors ? run(MlaKeysBackwardKernel<T, kSize>) : run(MlaKeysBackwardKernel<T, 1>);
  });
}

}  // namespace fathom::cuda
