// The CPU kernels on raw pointers, one table an instruction set. Each level_*.cc compiles the same kernel headers with its own flags;
// Kernels() is the table of the instruction set in use.
#pragma once

#include <cstdint>

#include "ops/attention/visible_keys.h"

namespace fathom::ops {

// The order of the pointers in the tables below.
enum KernelDtype { kKernelF32 = 0, kKernelBf16 = 1, kKernelF16 = 2, kNumKernelDtypes = 3 };

// Rows n_begin .. n_end of w against M rows of x.
struct LinearRowsArgs {
  const void* x;     // [M, K]
  const void* w;     // [N, K]
  const void* bias;  // [N] of w's dtype, or null
  void* y;           // [M, N]
  int64_t M, N, K;
};

// The order of the pointers in the tables of ggml's blocks.
enum GgmlFormat { kGgmlQ4_0 = 0, kGgmlQ4_1 = 1, kGgmlQ8_0 = 2, kNumGgmlFormats = 3 };
constexpr int64_t kGgmlSumStride = 32;  // a tile of 16 lanes may begin at any of 16 rows

// Rows n_begin .. n_end of a weight in blocks against M rows of x.
struct GgmlRowsArgs {
  const void* x;         // [M, K]
  const float* sums;     // [K / 32, kGgmlSumStride] of x over each block, for the kernels that ask for it
  const uint8_t* blocks;  // [N, K / 32] blocks
  void* y;               // [M, N]
  int64_t M, N, K;
};

// Rows t of [T, D]; strides in values. `residual` and `sum` are null without the addition.
struct NormArgs {
  const void *x, *residual, *w;
  void *y, *sum;
  int64_t D, x_stride, residual_stride;
  float eps;
};

struct RopeArgs {
  const void* x;
  const float *cos, *sin;
  void* y;
  int64_t H, half, t_stride, h_stride;
  bool interleaved, backward;
};

struct SwigluArgs {
  const void *gate_up, *dy;  // dy is null in the forward
  void* out;
  int64_t F;
};

// Query rows against one range of keys: the online softmax of arXiv 2307.08691.
struct AttendArgs {
  const void* const* q_rows;   // [num_rows]
  const void* const* q2_rows;  // the queries' second piece (MLA's rope part), or null
  int64_t num_rows, d1, d2, dv;
  KeyRows k, v;
  const int32_t* key_list;                   // key s is row key_list[s]; null: row s
  int64_t key_begin, key_end;                // visited
  const int32_t *row_begin, *row_end;        // [num_rows] visible to each row
  float scale;
  float *out, *max, *sum;                    // [num_rows, PaddedWidth(dv)] not yet divided by sum; [num_rows]; [num_rows]
  char* scratch;                             // AttendScratchBytes, aligned to 64
};

constexpr int64_t kAttendMaxRows = 96;   // rows that share a packed block of keys
constexpr int64_t kAttendBlockKeys = 128;
__attribute__((always_inline)) constexpr int64_t PaddedWidth(int64_t width) { return (width + 15) / 16 * 16; }
// Packed queries, keys, values, scores and probabilities, each at most four bytes a value.
__attribute__((always_inline)) constexpr int64_t AttendScratchBytes(int64_t num_rows, int64_t dk, int64_t dv) {
  return 4 * (num_rows * PaddedWidth(dk) + kAttendBlockKeys * (PaddedWidth(dk) + PaddedWidth(dv)) + 2 * num_rows * kAttendBlockKeys) + 64;
}

// out_rows[r] = sum over parts of e^(max_p - max) out_p / sum over parts of e^(max_p - max) sum_p; 0 when no part saw a key.
struct FinishArgs {
  const float* const* parts_out;  // [num_parts], each [num_rows, PaddedWidth(dv)]
  const float* const* parts_max;
  const float* const* parts_sum;
  int64_t num_parts, num_rows, dv;
  void* const* out_rows;
  float* max;  // [num_rows] joint maximum and
  float* sum;  // [num_rows] sum, for the logsumexp
};

// The backward of one block of query rows and one block of at most kAttendBlockKeys keys; the sums are added to.
struct AttendBackwardArgs {
  const void *const *q_rows, *const *dout_rows;  // [num_rows]
  const void *const *k_rows, *const *v_rows;     // [num_keys]
  int64_t num_rows, num_keys, first_key, dk, dv;
  const int32_t *row_begin, *row_end;  // visible to each row, counted as first_key is
  const float *lse, *delta;            // [num_rows]; delta = dout . out
  float scale;
  float *dq_sum, *dk_sum, *dv_sum;     // rows PaddedWidth apart
  char* scratch;                       // AttendBackwardScratchBytes, aligned to 64
};
__attribute__((always_inline)) constexpr int64_t AttendBackwardScratchBytes(int64_t num_rows, int64_t dk, int64_t dv) {
  return 4 * ((2 * kAttendBlockKeys + num_rows) * (PaddedWidth(dk) + PaddedWidth(dv)) + 3 * num_rows * kAttendBlockKeys) + 64;
}

struct KernelTable {
  // By w's dtype; x and y float32.
  void (*linear_rows_f32[kNumKernelDtypes])(const LinearRowsArgs&, int64_t n_begin, int64_t n_end);
  // x float32, y of w's dtype.
  void (*linear_rows_rounded[kNumKernelDtypes])(const LinearRowsArgs&, int64_t n_begin, int64_t n_end);
  // x, w, y bf16 with the dot-product instruction; null where there is none.
  void (*linear_rows_bf16)(const LinearRowsArgs&, int64_t n_begin, int64_t n_end);
  // The same for weights in ggml's blocks: x and y float32; x float32 and y bf16; both bf16 with the dot-product instruction or null.
  void (*ggml_rows_f32[kNumGgmlFormats])(const GgmlRowsArgs&, int64_t n_begin, int64_t n_end);
  void (*ggml_rows_rounded[kNumGgmlFormats])(const GgmlRowsArgs&, int64_t n_begin, int64_t n_end);
  void (*ggml_rows_bf16[kNumGgmlFormats])(const GgmlRowsArgs&, int64_t n_begin, int64_t n_end);
  void (*ggml_block_sums)(const void* x, int64_t M, int64_t K, float* sums);
  void (*ggml_expand[kNumGgmlFormats])(const uint8_t* blocks, int64_t num_blocks, uint16_t* out);
  void (*rms_norm[kNumKernelDtypes])(const NormArgs&, int64_t begin, int64_t end);
  void (*rope[kNumKernelDtypes])(const RopeArgs&, int64_t begin, int64_t end);
  void (*swiglu[kNumKernelDtypes])(const SwigluArgs&, int64_t begin, int64_t end);
  void (*attend[kNumKernelDtypes])(const AttendArgs&);
  void (*finish[kNumKernelDtypes])(const FinishArgs&);
  void (*attend_backward[kNumKernelDtypes])(const AttendBackwardArgs&);
  // sum_d a[d] b[d], added one by one as attention's products are: with a single key dout . v and dout . out are then the same number.
  float (*dot_in_order[kNumKernelDtypes])(const void* a, const void* b, int64_t n);
};

const KernelTable& Kernels();

}  // namespace fathom::ops
