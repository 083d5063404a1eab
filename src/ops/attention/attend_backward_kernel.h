// One block of query rows against one block of keys, backward, in float32. Compiled by cpu/level_*.cc alone.
#pragma once

#include "ops/attention/attend_kernel.h"
#include "ops/attention/pack_kernel.h"
#include "ops/attention/tile_product.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/simd.h"

namespace fathom::ops {
namespace {

// Rows as floats, `width` = PaddedWidth(n) apart, zero past their n values.
template <typename T>
FATHOM_INLINE void WidenRows(const void* const* rows, int64_t num_rows, int64_t n, float* out) {
  const int64_t width = PaddedWidth(n);
  for (int64_t i = 0; i < num_rows; ++i) {
    const T* row = static_cast<const T*>(rows[i]);
    float* to = out + i * width;
    int64_t d = 0;
    for (; d + kLanes <= n; d += kLanes) Store(to + d, Load(row + d));
    for (; d < width; ++d) to[d] = d < n ? ToFloat(row[d]) : 0.0f;
  }
}

// `widened` rows transposed, as PackKeys lays them out.
FATHOM_INLINE void TransposeWidened(const float* widened, int64_t num_rows, int64_t padded, int64_t n, float* out) {
  const float* rows[kAttendBlockKeys];
  for (int64_t j = 0; j < padded; ++j) rows[j] = j < num_rows ? widened + j * PaddedWidth(n) : nullptr;
  PackKeys<float>(rows, padded, n, out);
}

// scores -> P and dprobs -> dS = scale P (dP - delta), zero for keys that the row does not see.
FATHOM_INLINE void ProbabilitiesRow(float* scores, float* dprobs, int64_t padded, int64_t begin, int64_t end, float scale, float lse, float delta) {
  const bool sees = begin < end;
  for (int64_t j = 0; j < (sees ? Min(begin, padded) : padded); ++j) scores[j] = kNoKey;
  for (int64_t j = sees ? Max(end, 0) : padded; j < padded; ++j) scores[j] = kNoKey;
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Floats p = Exp(Load(scores + j) * Set(scale) - Set(sees ? lse : 0.0f));
    Store(scores + j, p);
    Store(dprobs + j, Set(scale) * p * (Load(dprobs + j) - Set(delta)));
  }
}

template <typename T>
float DotInOrder(const void* a, const void* b, int64_t n) {
  const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
  float sum = 0.0f;
  for (int64_t d = 0; d < n; ++d) {
#if defined(__FMA__)
    sum = __builtin_fmaf(ToFloat(x[d]), ToFloat(y[d]), sum);
#else
    sum = ToFloat(x[d]) * ToFloat(y[d]) + sum;
#endif
  }
  return sum;
}

template <typename T>
void AttendBackwardKernel(const AttendBackwardArgs& args) {
  const int64_t rows = args.num_rows, n = args.num_keys, padded = (n + 15) / 16 * 16;
  const int64_t dk_width = PaddedWidth(args.dk), dv_width = PaddedWidth(args.dv);
  float* keys = reinterpret_cast<float*>(args.scratch);
  float* values = keys + kAttendBlockKeys * dk_width;
  float* keys_t = values + kAttendBlockKeys * dv_width;
  float* values_t = keys_t + kAttendBlockKeys * dk_width;
  float* queries = values_t + kAttendBlockKeys * dv_width;
  float* douts = queries + rows * dk_width;
  float* scores = douts + rows * dv_width;
  float* dprobs = scores + rows * kAttendBlockKeys;
  float* transposed = dprobs + rows * kAttendBlockKeys;
  WidenRows<T>(args.k_rows, n, args.dk, keys);
  WidenRows<T>(args.v_rows, n, args.dv, values);
  TransposeWidened(keys, n, padded, args.dk, keys_t);
  TransposeWidened(values, n, padded, args.dv, values_t);
  WidenRows<T>(args.q_rows, rows, args.dk, queries);
  WidenRows<T>(args.dout_rows, rows, args.dv, douts);
  MultiplyPacked<false>({queries, dk_width, keys_t, kAttendBlockKeys, args.dk, scores, kAttendBlockKeys, false}, rows, padded);
  MultiplyPacked<false>({douts, dv_width, values_t, kAttendBlockKeys, args.dv, dprobs, kAttendBlockKeys, false}, rows, padded);
  for (int64_t i = 0; i < rows; ++i) {
    ProbabilitiesRow(scores + i * kAttendBlockKeys, dprobs + i * kAttendBlockKeys, padded, args.row_begin[i] - args.first_key,
                     Min(args.row_end[i] - args.first_key, n), args.scale, args.lse[i], args.delta[i]);
  }
  const auto transpose = [&](const float* from) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < n; ++j) transposed[j * rows + i] = from[i * kAttendBlockKeys + j];
    }
  };
  transpose(scores);
  MultiplyPacked<false>({transposed, rows, douts, dv_width, rows, args.dv_sum, dv_width, true}, n, dv_width);
  transpose(dprobs);
  MultiplyPacked<false>({transposed, rows, queries, dk_width, rows, args.dk_sum, dk_width, true}, n, dk_width);
  MultiplyPacked<false>({dprobs, kAttendBlockKeys, keys, dk_width, n, args.dq_sum, dk_width, true}, rows, dk_width);
}

}  // namespace
}  // namespace fathom::ops
