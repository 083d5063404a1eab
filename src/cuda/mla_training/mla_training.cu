#include <algorithm>

#include "cuda/mla_training/mla_training_kernel.h"
#include "cuda/rope/rotate.cuh"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T values[kSize];
};

constexpr int kThreads = 256;

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

constexpr int kPieces = 4;  // of a thread, kThreads apart

// The same for tails of whole vectors of pairs: a thread a vector before the tail, or 2 kSize values of the tail.
template <typename T, bool kBackward>
__global__ __launch_bounds__(kThreads) void RopeTailVectorsKernel(const __grid_constant__ RopeTailParams p, uint32_t total, uint32_t items) {
  constexpr int kSize = Vec<T>::kSize;
  const uint32_t index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= total) return;
  const uint32_t row = index / items, item = index - row * items;
  const int tail = p.dim - 2 * p.half, head_items = tail / kSize;
  const T* in = static_cast<const T*>(p.x) + static_cast<int64_t>(row) * p.dim;
  T* out = static_cast<T*>(p.y) + static_cast<int64_t>(row) * p.dim;
  if (static_cast<int>(item) < head_items) {
    StoreVec(out + item * kSize, LoadVec(in + item * kSize));
    return;
  }
  const int first = (static_cast<int>(item) - head_items) * kSize;
  const bool pairs_in = !kBackward && p.interleaved, pairs_out = kBackward && p.interleaved;
  const Vec<T> a = LoadVec(in + tail + (pairs_in ? 2 * first : first)), b = LoadVec(in + tail + (pairs_in ? 2 * first + kSize : p.half + first));
  const int64_t angles = static_cast<int64_t>(row / p.heads) * p.half + first;
  float cos[kSize], sin[kSize];
#pragma unroll
  for (int i = 0; i < kSize; i += 4) {
    *reinterpret_cast<float4*>(cos + i) = *reinterpret_cast<const float4*>(p.cos + angles + i);
    *reinterpret_cast<float4*>(sin + i) = *reinterpret_cast<const float4*>(p.sin + angles + i);
  }
  Vec<T> c, d;
  RotatePairs<T, kBackward>(a, b, cos, sin, pairs_in, pairs_out, c, d);
  StoreVec(out + tail + (pairs_out ? 2 * first : first), c);
  StoreVec(out + tail + (pairs_out ? 2 * first + kSize : p.half + first), d);
}

template <typename P>
__global__ __launch_bounds__(kThreads) void MlaKeysKernel(const P* kv, const P* k_rope, P* k, uint32_t total, uint32_t heads, uint32_t nope, uint32_t rope, uint32_t v) {
  const uint32_t first = blockIdx.x * (kThreads * kPieces) + threadIdx.x, width = nope + rope;
  P pieces[kPieces];
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const uint32_t index = first + i * kThreads, row = index / width, column = index - row * width;
    if (index < total) pieces[i] = *(column < nope ? kv + static_cast<int64_t>(row) * (nope + v) + column : k_rope + static_cast<int64_t>(row / heads) * rope + column - nope);
  }
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    if (first + i * kThreads < total) k[first + i * kThreads] = pieces[i];
  }
}

// A block a token. Its threads ask for a first share of the rotated parts (a piece of one head each), move the others, then add up the rotated ones.
template <typename T, int kSize>
__global__ __launch_bounds__(kThreads) void MlaKeysBackwardKernel(const T* dk_all, const T* dv_all, T* dkv_all, T* dk_rope, int heads, int nope, int rope, int v) {
  using P = Pack<T, kSize>;
  __shared__ float sums[kThreads * kSize];
  const int64_t token = blockIdx.x;
  const T* dk = dk_all + token * heads * (nope + rope);
  const T* dv = dv_all + token * heads * v;
  P* dkv = reinterpret_cast<P*>(dkv_all + token * heads * (nope + v));
  const int width = (nope + v) / kSize, nope_packs = nope / kSize, pieces = rope / kSize, items = heads * width;
  const auto rotated = [&](int head, int piece) { return reinterpret_cast<const P*>(dk + head * (nope + rope) + nope)[piece]; };
  const int share = min(pieces, kThreads), sharers = share > 0 ? kThreads / share : 1;  // threads of one piece; each takes every sharers-th head
  const int sharer = share > 0 ? static_cast<int>(threadIdx.x) / share : sharers, own_piece = share > 0 ? static_cast<int>(threadIdx.x) % share : 0;
  const bool has_head = sharer < min(sharers, heads);
  P first_rotated;
  if (has_head) first_rotated = rotated(sharer, own_piece);
  for (int begin = threadIdx.x; begin < items; begin += 2 * kThreads) {
    P moved[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int item = begin + i * kThreads, head = item / width, column = item - head * width;
      if (item < items) moved[i] = column < nope_packs ? reinterpret_cast<const P*>(dk + head * (nope + rope))[column] : reinterpret_cast<const P*>(dv + head * v)[column - nope_packs];
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (begin + i * kThreads < items) dkv[begin + i * kThreads] = moved[i];
    }
  }
  for (int first = 0; first < pieces; first += kThreads) {  // once, but for a rope of more than kThreads pieces
    const int piece = first + own_piece;
    float sum[kSize] = {};
    if (has_head && piece < pieces) {
      for (int head = sharer; head < heads; head += sharers) {
        const P values = first == 0 && head == sharer ? first_rotated : rotated(head, piece);
#pragma unroll
        for (int j = 0; j < kSize; ++j) sum[j] += ToFloat(values.values[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kSize; ++j) sums[threadIdx.x * kSize + j] = sum[j];
    __syncthreads();
    for (int i = threadIdx.x; i < min(pieces - first, kThreads) * kSize; i += kThreads) {
      float all = 0.0f;
      for (int other = 0; other < min(sharers, heads); ++other) all += sums[other * share * kSize + i];
      dk_rope[token * rope + first * kSize + i] = FromFloat<T>(all);
    }
    __syncthreads();
  }
}

}  // namespace

void LaunchRopeTail(const RopeTailParams& p, cudaStream_t stream) {
  DispatchDtype(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int kSize = Vec<T>::kSize;
    const int64_t items = (p.dim - p.half) / kSize, total = p.tokens * p.heads * items;
    const bool vectors = p.dim % kSize == 0 && p.half % kSize == 0 && IsAligned16(p.x) && IsAligned16(p.y) && IsAligned16(p.cos) && IsAligned16(p.sin) &&
                         total < (int64_t{1} << 30);
    if (vectors) {
      const auto blocks = static_cast<uint32_t>((total + kThreads - 1) / kThreads);
      const auto run = [&](auto kernel) { kernel<<<blocks, kThreads, 0, stream>>>(p, static_cast<uint32_t>(total), static_cast<uint32_t>(items)); };
      return p.backward ? run(RopeTailVectorsKernel<T, true>) : run(RopeTailVectorsKernel<T, false>);
    }
    const auto run = [&](auto kernel) { kernel<<<static_cast<unsigned>(p.tokens), kThreads, 0, stream>>>(p); };
    p.backward ? run(RopeTailKernel<T, 2, true>) : run(RopeTailKernel<T, 2, false>);
  });
}

void LaunchMlaKeys(const MlaKeysParams& p, cudaStream_t stream) {
  const int bytes = p.dtype == Dtype::kF32 ? 4 : 2;
  const auto run = [&](auto type) {
    using P = typename decltype(type)::type;
    const int scale = static_cast<int>(sizeof(P)) / bytes;
    // So many tokens at a time that 32 bits count their pieces.
    const int64_t pieces = static_cast<int64_t>(p.heads) * (p.nope + p.rope) / scale, most = (int64_t{1} << 30) / pieces;
    for (int64_t first = 0; first < p.tokens; first += most) {
      const int64_t tokens = std::min(most, p.tokens - first), total = tokens * pieces;
      MlaKeysKernel<P><<<static_cast<unsigned>((total + kThreads * kPieces - 1) / (kThreads * kPieces)), kThreads, 0, stream>>>(
          static_cast<const P*>(p.kv) + first * p.heads * (p.nope + p.v) / scale, static_cast<const P*>(p.k_rope) + first * p.rope / scale,
          static_cast<P*>(p.k) + first * pieces, static_cast<uint32_t>(total), p.heads, p.nope / scale, p.rope / scale, p.v / scale);
    }
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
