#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/cache/store_rows.h in units of bytes: cache rows of a_bytes + b_bytes, rows of a and b with their strides.
struct StoreRowsParams {
  void* cache = nullptr;
  const int64_t* slots = nullptr;
  const void* a = nullptr;
  const void* b = nullptr;
  int64_t a_stride = 0, b_stride = 0;
  int tokens = 0, a_bytes = 0, b_bytes = 0;
};
void LaunchStoreRows(const StoreRowsParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
