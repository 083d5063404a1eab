#include "ops/swiglu/swiglu.h"

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {

Tensor swiglu(const Tensor& gate_up_TF) {
  FATHOM_CHECK(gate_up_TF.dim() == 2 && gate_up_TF.size(1) % 2 == 0 && IsFloatDtype(gate_up_TF.scalar_type()),
               "swiglu: gate_up must be [T, 2F] of a float dtype, got {} dims of {}", gate_up_TF.dim(),
               c10::toString(gate_up_TF.scalar_type()));
  return SwigluOp::Call(gate_up_TF.contiguous());
}

}  // namespace fathom::ops
