#include <ATen/ops/cat.h>
#include <ATen/ops/sum.h>
#include <torch/library.h>

#include "ops/library.h"

namespace fathom::ops {
namespace {

Tensor RopeTailCpu(const Tensor& q_THD, const Tensor& cos, const Tensor& sin, bool interleaved) {
  const int64_t rope = 2 * cos.size(1), nope = q_THD.size(2) - rope;
  return at::cat({q_THD.narrow(2, 0, nope), RopeOp::CallBelowAutograd(q_THD.narrow(2, nope, rope), cos, sin, interleaved)}, 2);
}

Tensor RopeTailBackwardCpu(const Tensor& dy_THD, const Tensor& cos, const Tensor& sin, bool interleaved) {
  const int64_t rope = 2 * cos.size(1), nope = dy_THD.size(2) - rope;
  return at::cat({dy_THD.narrow(2, 0, nope), RopeBackwardOp::CallBelowAutograd(dy_THD.narrow(2, nope, rope), cos, sin, interleaved)}, 2);
}

Tensor MlaKeysCpu(const Tensor& kv_THC, const Tensor& k_rope_TR, int64_t nope) {
  const int64_t T = kv_THC.size(0), H = kv_THC.size(1), R = k_rope_TR.size(1);
  return at::cat({kv_THC.narrow(2, 0, nope), k_rope_TR.unsqueeze(1).expand({T, H, R})}, 2);
}

std::tuple<Tensor, Tensor> MlaKeysBackwardCpu(const Tensor& dk_THD, const Tensor& dv_THV, int64_t nope) {
  const int64_t R = dk_THD.size(2) - nope;
  return {at::cat({dk_THD.narrow(2, 0, nope), dv_THV}, 2), dk_THD.narrow(2, nope, R).to(at::kFloat).sum(1).to(dk_THD.scalar_type())};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CPU, m) {
  m.impl("rope_tail", TORCH_FN(RopeTailCpu));
  m.impl("rope_tail_backward", TORCH_FN(RopeTailBackwardCpu));
  m.impl("mla_keys", TORCH_FN(MlaKeysCpu));
  m.impl("mla_keys_backward", TORCH_FN(MlaKeysBackwardCpu));
}

}  // namespace fathom::ops
