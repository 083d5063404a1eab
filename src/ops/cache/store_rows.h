// Writing new keys and values into the slots of a paged cache.
#pragma once

#include <ATen/core/Tensor.h>

namespace fathom::ops {

// cache[slots[t]] = (a[t], b[t]) for each t: cache [S, A + B] contiguous (pages seen as slots), slots [T] int64 in [0, S), a [T, A] and
// b [T, B] with a contiguous last dimension (any row stride), all of the cache's dtype. Two sources, because a row is keys and values
// (GQA) or latent and rope part (MLA) and joining them first would copy them twice. Slots that occur twice hold one of their rows.
// Works in place; inference only (Autograd throws).
void store_rows(const at::Tensor& cache_SW, const at::Tensor& slots_T, const at::Tensor& a_TA, const at::Tensor& b_TB);

}  // namespace fathom::ops
