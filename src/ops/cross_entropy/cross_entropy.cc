#include "ops/cross_entropy/cross_entropy.h"

#include <torch/library.h>

#include "ops/library.h"

namespace fathom::ops {

TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("cross_entropy_rows", TORCH_FN(CrossEntropyRowsOp::NotDifferentiable)); }

}  // namespace fathom::ops
