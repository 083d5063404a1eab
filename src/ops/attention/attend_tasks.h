// The plan and the run of attention on the CPU: sequences are cut into tasks of query rows that share a packed block of keys, and, where
// there are few queries, into parts of the keys that are joined afterwards.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

#include "ops/attention/visible_keys.h"

namespace fathom::ops {

// Query heads of one tensor: row (t, h) is at base + (t * t_stride + h * h_stride) bytes.
struct HeadRows {
  const char* base = nullptr;
  int64_t t_stride = 0, h_stride = 0;
  const char* Row(int64_t t, int64_t h) const { return base + t * t_stride + h * h_stride; }
};

// The keys and values of one sequence: those of key head g are `head_stride` bytes further.
struct SequenceKeys {
  KeyRows k{}, v{};
  int64_t k_head_stride = 0, v_head_stride = 0;
  int64_t first_query = 0, num_queries = 0, num_keys = 0;
};

struct AttendProblem {
  at::ScalarType dtype = at::kFloat;
  HeadRows q{}, q2{};  // q2.base null without a second piece
  int64_t d1 = 0, d2 = 0, dv = 0;
  int64_t num_heads = 1, num_key_heads = 1;
  float scale = 1;
  int64_t window = -1;
  const int32_t* topk = nullptr;  // [T, topk_size]
  int64_t topk_size = 0;
  std::vector<SequenceKeys> sequences{};
  void* out = nullptr;   // [T, H, dv] contiguous
  float* lse = nullptr;  // [T, H] or null
};

// The result of a row depends on its own sequence alone, not on the threads nor on the other sequences.
void Attend(const AttendProblem& problem);

}  // namespace fathom::ops
