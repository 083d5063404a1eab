#include "ops/rope/rope.h"

#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {

Tensor rope(const Tensor& x_THD, const Tensor& cos_TD, const Tensor& sin_TD, bool interleaved) {
  FATHOM_CHECK(x_THD.dim() == 3 && IsFloatDtype(x_THD.scalar_type()) && x_THD.size(2) % 2 == 0,
               "rope: x must be [T, H, Dr] of a float dtype with even Dr, got {} dims of {}", x_THD.dim(), c10::toString(x_THD.scalar_type()));
  FATHOM_CHECK(cos_TD.dim() == 2 && cos_TD.size(0) == x_THD.size(0) && cos_TD.size(1) * 2 == x_THD.size(2) && cos_TD.sizes() == sin_TD.sizes(),
               "rope: cos and sin must be [T, Dr / 2] = [{}, {}]", x_THD.size(0), x_THD.size(2) / 2);
  FATHOM_CHECK(cos_TD.scalar_type() == at::kFloat && sin_TD.scalar_type() == at::kFloat, "rope: cos and sin must be float32");
  const Tensor x = x_THD.stride(2) == 1 ? x_THD : x_THD.contiguous();
  return RopeOp::Call(x, cos_TD.contiguous(), sin_TD.contiguous(), interleaved);
}

}  // namespace fathom::ops
