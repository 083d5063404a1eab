#include "ops/cache/store_rows.h"

#include <ATen/ops/cat.h>
#include <torch/library.h>

#include <cstring>

#include "ops/library.h"

namespace fathom::ops {
namespace {

void StoreRowsCpu(const Tensor& cache, const Tensor& slots, const Tensor& a, const Tensor& b) {
  const int64_t bytes = static_cast<int64_t>(cache.element_size()), a_bytes = a.size(1) * bytes, b_bytes = b.size(1) * bytes;
  char* to = static_cast<char*>(cache.mutable_data_ptr());
  const char *from_a = static_cast<const char*>(a.const_data_ptr()), *from_b = static_cast<const char*>(b.const_data_ptr());
  const int64_t* slot = slots.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < slots.size(0); ++t) {
    FATHOM_CHECK(slot[t] >= 0 && slot[t] < cache.size(0), "store_rows: slot {} of {}", slot[t], cache.size(0));
    char* row = to + slot[t] * (a_bytes + b_bytes);
    if (a_bytes > 0) std::memcpy(row, from_a + t * a.stride(0) * bytes, a_bytes);
    if (b_bytes > 0) std::memcpy(row + a_bytes, from_b + t * b.stride(0) * bytes, b_bytes);
  }
}

// The GPU, in operations of ATen.
void StoreRowsByIndex(const Tensor& cache, const Tensor& slots, const Tensor& a, const Tensor& b) {
  Tensor rows = cache;
  rows.index_copy_(0, slots, at::cat({a, b}, 1));
}

}  // namespace

void store_rows(const Tensor& cache_SW, const Tensor& slots_T, const Tensor& a_TA, const Tensor& b_TB) {
  FATHOM_CHECK(a_TA.dim() == 2 && b_TB.dim() == 2 && cache_SW.dim() == 2 && cache_SW.is_contiguous() &&
                   cache_SW.size(1) == a_TA.size(1) + b_TB.size(1),
               "store_rows: cache [S, A + B] contiguous, a [T, A] and b [T, B]");
  FATHOM_CHECK(slots_T.dim() == 1 && slots_T.scalar_type() == at::kLong && slots_T.is_contiguous() && slots_T.size(0) == a_TA.size(0) &&
                   slots_T.size(0) == b_TB.size(0),
               "store_rows: slots [T] int64 and rows [T, ...] must agree, got {} slots, {} and {} rows", slots_T.numel(), a_TA.size(0), b_TB.size(0));
  FATHOM_CHECK(a_TA.scalar_type() == cache_SW.scalar_type() && b_TB.scalar_type() == cache_SW.scalar_type(),
               "store_rows: the rows are {} and {}, the cache is {}", c10::toString(a_TA.scalar_type()), c10::toString(b_TB.scalar_type()),
               c10::toString(cache_SW.scalar_type()));
  const auto rows = [](const Tensor& x) { return x.size(1) <= 1 || x.stride(1) == 1 ? x : x.contiguous(); };
  StoreRowsOp::Call(cache_SW, slots_T, rows(a_TA), rows(b_TB));
}

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("store_rows", TORCH_FN(StoreRowsCpu)); }
TORCH_LIBRARY_IMPL(fathom, CUDA, m) { m.impl("store_rows", TORCH_FN(StoreRowsByIndex)); }
TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("store_rows", TORCH_FN(StoreRowsOp::NotDifferentiable)); }

}  // namespace fathom::ops
