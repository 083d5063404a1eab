// A block a row. Tokens are ordered by a key of 55 bits, the distance from the best score in units of the temperature; cuts are found by their key, a
// digit of 11 bits a pass over the row (radix selection), and every sum is of whole numbers, so that no order of threads changes it.
#include <math_constants.h>

#include "cuda/sample/sample_kernel.h"
#include "cuda/scalar.cuh"

namespace fathom::cuda {
namespace {

using U64 = unsigned long long;

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kDigitBits = 11, kBins = 1 << kDigitBits, kKeyBits = 5 * kDigitBits;
constexpr int kEach = 8, kChunk = 32 * kEach;      // tokens that a lane and a warp take at once
constexpr double kFarthest = 32.0;                 // distances from there on have no key
constexpr double kKeyScale = 1125899906842624.0;    // 2^55 / kFarthest
constexpr double kWeightScale = 17592186044416.0;  // 2^44
constexpr U64 kNoKey = ~0ull, kMostKey = (1ull << kKeyBits) - 1;

// A row's values: its logits, but for the seen tokens, whose scores stand apart.
template <typename T>
struct Row {
  const T* logits;
  const double* scores;   // where is_seen; null: no token is
  const uint8_t* is_seen;  // a bit a token
  int vocab;
  bool aligned;

  // Values [i, i + kEach), NaN past the end; i is a multiple of kEach.
  __device__ void Load(int i, double (&out)[kEach]) const {
    if (aligned && i + kEach <= vocab) {
      constexpr int kSize = Vec<T>::kSize;
#pragma unroll
      for (int part = 0; part < kEach / kSize; ++part) {
        const Vec<T> vec = LoadVec(logits + i + part * kSize);
#pragma unroll
        for (int e = 0; e < kSize; ++e) out[part * kSize + e] = static_cast<double>(ToFloat(vec.values[e]));
      }
    } else {
#pragma unroll
      for (int e = 0; e < kEach; ++e) out[e] = i + e < vocab ? static_cast<double>(ToFloat(logits[i + e])) : CUDART_NAN;
    }
    if (scores == nullptr || i >= vocab) return;
    const unsigned seen = is_seen[i / kEach];
    if (seen == 0) return;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      if (seen >> e & 1u) out[e] = scores[i + e];
    }
  }
};

struct Shared {
  unsigned counts[kBins], low[kBins], high[kBins];  // of a digit's values: tokens, or weights in two halves
  U64 warp_sums[kWarps];
  unsigned warp_counts[kWarps];
  double warp_values[kWarps];
  U64 sum, key, before;
  unsigned count;
  int digit;
};

__device__ __forceinline__ U64 ShuffleUp(U64 value, int offset) { return __shfl_up_sync(0xffffffffu, value, offset); }

// Sum, least or greatest over the block, the same on every thread.
template <typename Join>
__device__ U64 Reduce(U64 value, Shared& s, Join join) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = join(value, __shfl_xor_sync(0xffffffffu, value, offset));
  __syncthreads();
  if (threadIdx.x % 32 == 0) s.warp_sums[threadIdx.x / 32] = value;
  __syncthreads();
  value = s.warp_sums[0];
  for (int w = 1; w < kWarps; ++w) value = join(value, s.warp_sums[w]);
  return value;
}
__device__ U64 Sum(U64 value, Shared& s) {
  return Reduce(value, s, [](U64 a, U64 b) { return a + b; });
}

// What the row is measured by.
struct Measure {
  double best, inverse_temperature;
  __device__ double Distance(double score) const { return (best - score) * inverse_temperature; }
  __device__ U64 Key(double score) const {
    const double distance = Distance(score);
    return distance < kFarthest ? static_cast<U64>(distance * kKeyScale) : kNoKey;  // NaN has none
  }
  __device__ static U64 Weight(double probability) {
    const U64 weight = static_cast<U64>(probability * kWeightScale + 0.5);
    return weight > 0 ? weight : 1;
  }
  __device__ U64 WeightOf(double score) const { return Weight(exp(-Distance(score))); }
};

// f(token, score) for the tokens of this warp's part of the row that this lane takes: parts are contiguous.
template <typename T>
__device__ int PartOf(const Row<T>& row) { return (row.vocab + kWarps * kChunk - 1) / (kWarps * kChunk) * kChunk; }
template <typename T, typename F>
__device__ void ForEach(const Row<T>& row, F f) {
  const int part = PartOf(row), begin = threadIdx.x / 32 * part, end = min(row.vocab, begin + part);
  for (int i = begin + static_cast<int>(threadIdx.x % 32) * kEach; i < end; i += kChunk) {
    double scores[kEach];
    row.Load(i, scores);
#pragma unroll
    for (int e = 0; e < kEach; ++e) f(i + e, scores[e]);
  }
}

// The best score and the lowest token that has it; the token is -1 where no score is above -infinity.
template <typename T>
__device__ void FindBest(const Row<T>& row, Shared& s, double& best, int& token) {
  best = -CUDART_INF;
  token = INT_MAX;
  ForEach(row, [&](int i, double score) {
    if (score > best) {
      best = score;
      token = i;
    }
  });
  const auto join = [&](double other, int other_token) {
    if (other > best || (other == best && other_token < token)) {
      best = other;
      token = other_token;
    }
  };
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, best, offset);
    join(other, __shfl_xor_sync(0xffffffffu, token, offset));
  }
  if (threadIdx.x % 32 == 0) {
    s.warp_values[threadIdx.x / 32] = best;
    s.warp_counts[threadIdx.x / 32] = static_cast<unsigned>(token);
  }
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) join(s.warp_values[w], static_cast<int>(s.warp_counts[w]));
  if (token == INT_MAX) token = -1;
}

// In a histogram: the first digit at which the running sum reaches `target` (digit and the sum before it; digit -1: it never does).
template <bool kWeights>
__device__ void FindDigit(Shared& s, U64 target) {
  constexpr int kOwn = kBins / kThreads;
  const int first = static_cast<int>(threadIdx.x) * kOwn, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  U64 own[kOwn], sum = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    own[i] = kWeights ? (static_cast<U64>(s.high[first + i]) << 32) + s.low[first + i] : s.counts[first + i];
    sum += own[i];
  }
  U64 until = sum;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const U64 other = ShuffleUp(until, offset);
    if (lane >= offset) until += other;
  }
  __syncthreads();
  if (threadIdx.x == 0) s.digit = -1;
  if (lane == 31) s.warp_sums[warp] = until;
  __syncthreads();
  U64 before = until - sum;
  for (int w = 0; w < warp; ++w) before += s.warp_sums[w];
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (before < target && before + own[i] >= target) {
      s.digit = first + i;
      s.before = before;
    }
    before += own[i];
  }
  __syncthreads();
}

struct Cut {
  U64 key = kMostKey;        // the last that is kept
  unsigned ties = UINT_MAX;  // of the tokens with that key, those with the lowest ids that are kept
};

// Among tokens of keys up to most_key, in the order of (key, token): the shortest beginning with `target` tokens, or (kWeights) with the share `top_p` of
// their weight.
template <bool kWeights, typename T>
__device__ Cut FindCut(const Row<T>& row, const Measure& measure, U64 most_key, U64 target, double top_p, Shared& s) {
  U64 prefix = 0, before = 0;
  for (int done = 0;; done += kDigitBits) {  // bits of the cut's key that are known
    const int known = kKeyBits - done, shift = known > kDigitBits ? known - kDigitBits : 0;
    __syncthreads();
    for (int i = threadIdx.x; i < kBins; i += kThreads) s.counts[i] = s.low[i] = s.high[i] = 0;
    __syncthreads();
    U64 least = kNoKey, greatest = 0, count = 0, sum = 0;
    ForEach(row, [&](int, double score) {
      const U64 key = measure.Key(score);
      if (key > most_key || key >> known != prefix) return;
      least = min(least, key);
      greatest = max(greatest, key);
      ++count;
      const int digit = static_cast<int>(key >> shift) & (kBins - 1);
      if (!kWeights) {
        atomicAdd(&s.counts[digit], 1u);
        return;
      }
      const U64 weight = measure.WeightOf(score);
      sum += weight;
      const unsigned half = static_cast<unsigned>(weight), old = atomicAdd(&s.low[digit], half);
      const unsigned rest = static_cast<unsigned>(weight >> 32) + (old + half < old ? 1u : 0u);
      if (rest != 0) atomicAdd(&s.high[digit], rest);
    });
    least = Reduce(least, s, [](U64 a, U64 b) { return min(a, b); });
    greatest = Reduce(greatest, s, [](U64 a, U64 b) { return max(a, b); });
    count = Sum(count, s);
    sum = kWeights ? Sum(sum, s) : count;
    if (kWeights && done == 0) target = max(static_cast<U64>(ceil(top_p * static_cast<double>(sum))), 1ull);
    if (done == 0 && target > sum) return {most_key, UINT_MAX};
    if (least == greatest) {
      if (!kWeights) return {least, UINT_MAX};
      const U64 each = sum / count;
      return {least, static_cast<unsigned>(min(max((target - before + each - 1) / each, 1ull), count))};
    }
    FindDigit<kWeights>(s, target - before);
    prefix = prefix << kDigitBits | static_cast<U64>(s.digit);
    before += s.before;
  }
}

// The first kept token at which the running sum of weights exceeds `uniform` of the whole.
template <typename T>
__device__ void Draw(const Row<T>& row, const Measure& measure, const Cut& cut, double min_p, double uniform, Shared& s, int64_t* out) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const auto weight_of = [&](double score) -> U64 {
    const double probability = exp(-measure.Distance(score));
    return probability >= min_p ? Measure::Weight(probability) : 0;
  };
  U64 sum = 0, tie_sum = 0, ties = 0;
  ForEach(row, [&](int, double score) {
    const U64 key = measure.Key(score);
    if (key > cut.key) return;
    const U64 weight = weight_of(score);
    if (key < cut.key) {
      sum += weight;
    } else {
      tie_sum += weight;
      ++ties;
    }
  });
  const U64 all_ties = Sum(ties, s), all_tie_sum = Sum(tie_sum, s);
  const U64 each = all_ties > 0 ? all_tie_sum / all_ties : 0;  // equal keys, equal weights
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    ties += __shfl_xor_sync(0xffffffffu, ties, offset);
  }
  __syncthreads();
  if (lane == 0) {
    s.warp_sums[warp] = sum;
    s.warp_counts[warp] = static_cast<unsigned>(ties);
  }
  __syncthreads();
  // Every warp finds the whole and its own place; the one that has the token goes on.
  const auto kept_ties = [&](U64 from, U64 to) -> U64 { return min(to, static_cast<U64>(cut.ties)) - min(from, static_cast<U64>(cut.ties)); };
  U64 whole = 0, below = 0, ties_below = 0, seen_ties = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) {
      below = whole;
      ties_below = seen_ties;
    }
    whole += s.warp_sums[w] + kept_ties(seen_ties, seen_ties + s.warp_counts[w]) * each;
    seen_ties += s.warp_counts[w];
  }
  const U64 target = min(static_cast<U64>(uniform * static_cast<double>(whole)), whole - 1);
  const U64 own = s.warp_sums[warp] + kept_ties(ties_below, ties_below + s.warp_counts[warp]) * each;
  if (target < below || target >= below + own) return;
  U64 left = target - below;
  const int part = PartOf(row), begin = warp * part, end = min(row.vocab, begin + part);
  for (int chunk = begin; chunk < end; chunk += kChunk) {
    const int first = chunk + lane * kEach;
    double scores[kEach];
    row.Load(first, scores);
    unsigned lane_ties = 0;
#pragma unroll
    for (int e = 0; e < kEach; ++e) lane_ties += measure.Key(scores[e]) == cut.key ? 1u : 0u;
    unsigned until_ties = lane_ties;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const unsigned other = __shfl_up_sync(0xffffffffu, until_ties, offset);
      if (lane >= offset) until_ties += other;
    }
    U64 weights[kEach], lane_sum = 0, tie = ties_below + until_ties - lane_ties;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const U64 key = measure.Key(scores[e]);
      weights[e] = key < cut.key ? weight_of(scores[e]) : 0;
      if (key == cut.key && tie++ < cut.ties) weights[e] = each;
      lane_sum += weights[e];
    }
    U64 until = lane_sum;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const U64 other = ShuffleUp(until, offset);
      if (lane >= offset) until += other;
    }
    const unsigned past = __ballot_sync(0xffffffffu, until > left);
    if (past != 0) {
      if (lane != __ffs(past) - 1) return;
      U64 at = until - lane_sum;
      for (int e = 0; e < kEach; ++e) {
        at += weights[e];
        if (at > left) {
          *out = first + e;
          return;
        }
      }
    }
    left -= __shfl_sync(0xffffffffu, until, 31);
    ties_below += __shfl_sync(0xffffffffu, until_ties, 31);
  }
}

template <typename T>
__global__ __launch_bounds__(kThreads) void SampleKernel(SampleParams p) {
  __shared__ Shared s;
  const int64_t b = blockIdx.x;
  const double* setting = p.settings + 8 * b;
  const double temperature = setting[0], top_k = setting[1], top_p = setting[2], min_p = setting[3];
  Row<T> row;
  row.logits = static_cast<const T*>(p.logits) + b * p.stride;
  row.scores = nullptr;
  row.is_seen = nullptr;
  row.vocab = p.vocab;
  row.aligned = reinterpret_cast<uintptr_t>(row.logits) % 16 == 0;
  if (p.scores != nullptr && p.limits[b] < p.limits[b + 1]) {
    double* scores = p.scores + b * p.vocab;
    const int words = SeenWords(p.vocab);
    unsigned* is_seen = p.is_seen + b * words;
    for (int i = threadIdx.x; i < words; i += kThreads) is_seen[i] = 0;
    __syncthreads();
    const double repetition = setting[4], presence = setting[5], frequency = setting[6];
    for (int i = p.limits[b] + static_cast<int>(threadIdx.x); i < p.limits[b + 1]; i += kThreads) {
      const int token = p.seen[2 * i], count = p.seen[2 * i + 1];
      if (token < 0 || token >= p.vocab) continue;
      double score = static_cast<double>(ToFloat(row.logits[token])) + p.biases[i];
      if (count >= 0) score = score < 0 ? score * repetition : score / repetition;
      if (count > 0) score -= presence + count * frequency;
      scores[token] = score;
      atomicOr(&is_seen[token / 32], 1u << token % 32);
    }
    __threadfence_block();
    __syncthreads();
    row.scores = scores;
    row.is_seen = reinterpret_cast<const uint8_t*>(is_seen);
  }
  Measure measure;
  int best_token;
  FindBest(row, s, measure.best, best_token);
  if (!isfinite(measure.best)) best_token = -1;
  if (best_token < 0 || temperature == 0) {
    if (threadIdx.x == 0) p.tokens[b] = best_token;
    return;
  }
  measure.inverse_temperature = 1.0 / fmax(temperature, 1e-300);
  Cut cut;
  if (top_k > 0 && top_k < p.vocab) cut = FindCut<false>(row, measure, cut.key, static_cast<U64>(top_k), 0.0, s);
  if (top_p < 1.0) cut = FindCut<true>(row, measure, cut.key, 0, top_p, s);
  Draw(row, measure, cut, min_p, setting[7], s, p.tokens + b);
}

}  // namespace

void LaunchSample(const SampleParams& params, cudaStream_t stream) {
  DispatchDtype(params.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    SampleKernel<T><<<params.rows, kThreads, 0, stream>>>(params);
  });
}

}  // namespace fathom::cuda
