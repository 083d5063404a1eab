// Query rows against a range of keys, block by block, with the online softmax. Compiled by cpu/level_*.cc alone.
#pragma once

#include "ops/attention/pack_kernel.h"
#include "ops/attention/tile_product.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

constexpr float kNoKey = -__builtin_inff();

// One row of scores of a block: updates the row's maximum and sum, leaves probabilities (in `scores`, or rounded to bf16 in `rounded`), and
// rescales what the row has gathered before.
template <typename T>
FATHOM_INLINE void SoftmaxRow(float* scores, int64_t padded, int64_t visible_begin, int64_t visible_end, float scale, float* max, float* sum,
                              float* out, int64_t width, Bf16* rounded) {
  for (int64_t j = 0; j < Min(visible_begin, padded); ++j) scores[j] = kNoKey;
  for (int64_t j = Max(visible_end, 0); j < padded; ++j) scores[j] = kNoKey;
  const Floats factor = Set(scale);
  Floats highest = Set(kNoKey);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Floats s = Load(scores + j) * factor;
    Store(scores + j, s);
    highest = Max(s, highest);
  }
  const float block_max = MaxOf(highest), new_max = block_max > *max ? block_max : *max;
  Floats total = Set(0.0f);
  const Floats shift = Set(new_max == kNoKey ? 0.0f : new_max);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Floats p = Exp(Load(scores + j) - shift);
    total = total + p;
    if constexpr (kUsesDots<T>) {
      Store(rounded + j, p);
    } else {
      Store(scores + j, p);
    }
  }
  if (new_max != *max && *sum != 0.0f) {
    float alpha[kLanes];
    Store(alpha, Exp(Set(*max - new_max)));
    for (int64_t d = 0; d < width; d += kLanes) Store(out + d, Load(out + d) * Set(alpha[0]));
    *sum *= alpha[0];
  }
  *sum += Sum(total);
  *max = new_max;
}

template <typename T>
void AttendKernel(const AttendArgs& args) {
  const int64_t dk = args.d1 + args.d2, units = Units<T>(dk), width = PaddedWidth(args.dv), rows = args.num_rows;
  float* queries = reinterpret_cast<float*>(args.scratch);
  float* keys = queries + rows * PaddedWidth(dk);
  float* values = keys + PaddedWidth(dk) * kAttendBlockKeys;
  float* scores = values + width * kAttendBlockKeys;
  float* rounded = scores + rows * kAttendBlockKeys;  // bf16 probabilities, kAttendBlockKeys / 2 units a row
  for (int64_t i = 0; i < rows; ++i) {
    float* units_row = queries + i * units;
    if (args.q2_rows == nullptr) {
      PackRow(static_cast<const T*>(args.q_rows[i]), dk, units_row);
    } else {
      T joined[4096];
      __builtin_memcpy(joined, args.q_rows[i], args.d1 * sizeof(T));
      __builtin_memcpy(joined + args.d1, args.q2_rows[i], args.d2 * sizeof(T));
      PackRow(joined, dk, units_row);
    }
    args.max[i] = kNoKey;
    args.sum[i] = 0.0f;
    __builtin_memset(args.out + i * width, 0, width * sizeof(float));
  }
  for (int64_t first = args.key_begin; first < args.key_end; first += kAttendBlockKeys) {
    const int64_t n = Min(kAttendBlockKeys, args.key_end - first), padded = (n + 15) / 16 * 16;
    const T *k_rows[kAttendBlockKeys], *v_rows[kAttendBlockKeys];
    for (int64_t j = 0; j < padded; ++j) {
      const int64_t key = j < n ? (args.key_list != nullptr ? args.key_list[first + j] : first + j) : 0;
      k_rows[j] = j < n ? reinterpret_cast<const T*>(args.k.Row(key)) : nullptr;
      v_rows[j] = j < n ? reinterpret_cast<const T*>(args.v.Row(key)) : nullptr;
    }
    PackKeys(k_rows, padded, dk, keys);
    MultiplyPacked<kUsesDots<T>>({queries, units, keys, kAttendBlockKeys, units, scores, kAttendBlockKeys, false}, rows, padded);
    for (int64_t i = 0; i < rows; ++i) {
      SoftmaxRow<T>(scores + i * kAttendBlockKeys, padded, args.row_begin[i] - first, Min(args.row_end[i] - first, n), args.scale, args.max + i,
                    args.sum + i, args.out + i * width, width, reinterpret_cast<Bf16*>(rounded + i * (kAttendBlockKeys / 2)));
    }
    PackValues(v_rows, n, args.dv, values);
    if constexpr (kUsesDots<T>) {
      MultiplyPacked<true>({rounded, kAttendBlockKeys / 2, values, width, Units<T>(n), args.out, width, true}, rows, width);
    } else {
      MultiplyPacked<false>({scores, kAttendBlockKeys, values, width, n, args.out, width, true}, rows, width);
    }
  }
}

template <typename T>
void FinishKernel(const FinishArgs& args) {
  const int64_t width = PaddedWidth(args.dv);
  for (int64_t i = 0; i < args.num_rows; ++i) {
    float max = kNoKey, sum = 0.0f;
    for (int64_t p = 0; p < args.num_parts; ++p) max = args.parts_max[p][i] > max ? args.parts_max[p][i] : max;
    const auto weight = [&](int64_t p) {
      if (args.parts_max[p][i] == max) return 1.0f;
      float lanes[kLanes];
      Store(lanes, Exp(Set(args.parts_max[p][i] - max)));
      return lanes[0];
    };
    for (int64_t p = 0; p < args.num_parts; ++p) sum += weight(p) * args.parts_sum[p][i];
    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    T* out = static_cast<T*>(args.out_rows[i]);
    for (int64_t d = 0; d < args.dv; d += kLanes) {
      Floats value = Set(0.0f);
      for (int64_t p = 0; p < args.num_parts; ++p) {
        const Floats part = Load(args.parts_out[p] + i * width + d);
        value = args.num_parts == 1 ? part : Fma(Set(weight(p)), part, value);
      }
      value = value * Set(inverse);
      if (d + kLanes <= args.dv) {
        Store(out + d, value);
      } else {
        StorePart(out + d, value, args.dv - d);
      }
    }
    args.max[i] = max;
    args.sum[i] = sum;
  }
}

}  // namespace
}  // namespace fathom::ops
