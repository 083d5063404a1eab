// Calls a generic lambda with the C++ type of a tensor's dtype.
#pragma once

#include <c10/core/ScalarType.h>

#include "base/error.h"
#include "ops/cpu/kernel_table.h"

namespace fathom::ops {

inline bool IsFloatDtype(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
}

inline KernelDtype KernelDtypeOf(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return kKernelF32;
    case at::kBFloat16: return kKernelBf16;
    case at::kHalf: return kKernelF16;
    default: FATHOM_CHECK(false, "dtype must be float32, bfloat16 or float16, got {}", c10::toString(dtype));
  }
}

// f(float{}), f(c10::BFloat16{}) or f(c10::Half{}).
template <typename F>
void DispatchFloat(at::ScalarType dtype, const F& f) {
  switch (dtype) {
    case at::kFloat: return f(float{});
    case at::kBFloat16: return f(c10::BFloat16{});
    case at::kHalf: return f(c10::Half{});
    default: FATHOM_CHECK(false, "dtype must be float32, bfloat16 or float16, got {}", c10::toString(dtype));
  }
}

}  // namespace fathom::ops
