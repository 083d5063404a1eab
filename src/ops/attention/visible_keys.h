// Which keys a query sees, and where they lie: the part that dense, paged and sparse attention differ in.
#pragma once

#include <cstdint>

namespace fathom::ops {

// Keys (or values) of one sequence and one key head: key j is at base + row * stride bytes, row = j, or with pages
// page_table[j / page_size] * page_size + j % page_size (then `stride` is a row's and `page_stride` a page's).
struct KeyRows {
  const char* base = nullptr;
  int64_t stride = 0;
  const int32_t* page_table = nullptr;
  int64_t page_size = 1;
  int64_t page_stride = 0;
  // Inlined always: kernel files of different instruction sets must not share one compiled body.
  __attribute__((always_inline)) const char* Row(int64_t j) const {
    if (page_table == nullptr) return base + j * stride;
    return base + page_table[j / page_size] * page_stride + j % page_size * stride;
  }
};

struct KeyRange {
  int64_t begin = 0, end = 0;
};

// Query `i` of n_q (the last n_q of n_k keys) sees keys [begin, end): causal, and the last `window` ones when window >= 0.
inline KeyRange VisibleRange(int64_t i, int64_t n_q, int64_t n_k, int64_t window) {
  const int64_t last = i + n_k - n_q;
  const int64_t begin = window >= 0 ? last - window + 1 : 0, end = last + 1;
  return {.begin = begin > 0 ? begin : 0, .end = end > 0 ? end : 0};
}

}  // namespace fathom::ops
