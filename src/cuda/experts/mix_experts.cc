#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <initializer_list>
#include <optional>

#include "cuda/experts/mix_experts_kernel.h"
#include "cuda/launch.h"
#include "ops/experts/mix_experts_one_by_one.h"

namespace fathom::cuda {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

bool KernelsTake(std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* x : tensors) {
    if (x->element_size() != 2 || x->size(-1) % 8 != 0 || reinterpret_cast<uintptr_t>(x->const_data_ptr()) % 16 != 0) return false;
  }
  return true;
}

Tensor MixExperts(const Tensor& x_TD, const Tensor& weights_TK, const Tensor& topk_idx_TK, const Tensor& gate_up, const Tensor& down,
                  const OptionalTensor& shared_gate_up, const OptionalTensor& shared_down) {
  const c10::cuda::CUDAGuard guard(x_TD.device());
  // Float32, and shapes that the kernels do not take, go the longer way.
  const bool takes = KernelsTake({&x_TD, &gate_up, &down}) && (!shared_down || KernelsTake({&*shared_gate_up, &*shared_down}));
  if (!takes || x_TD.numel() == 0 || topk_idx_TK.numel() == 0 || gate_up.numel() == 0)
    return ops::MixExpertsOneByOne(x_TD, weights_TK, topk_idx_TK, gate_up, down, shared_gate_up, shared_down);
  MixExpertsParams params;
  params.tokens = static_cast<int>(x_TD.size(0));
  params.top_k = static_cast<int>(topk_idx_TK.size(1));
  params.experts = static_cast<int>(gate_up.size(0));
  params.d = static_cast<int>(x_TD.size(1));
  params.f = static_cast<int>(down.size(2));
  params.s = shared_down ? static_cast<int>(shared_down->size(1)) : 0;
  Tensor y_TD = at::empty(x_TD.sizes(), x_TD.options());
  Tensor inner = at::empty({topk_idx_TK.numel(), params.f}, x_TD.options()), shared_inner = at::empty({params.tokens, params.s}, x_TD.options());
  params.x = x_TD.const_data_ptr();
  params.weights = weights_TK.const_data_ptr<float>();
  params.topk_idx = topk_idx_TK.const_data_ptr<int32_t>();
  params.gate_up = gate_up.const_data_ptr();
  params.down = down.const_data_ptr();
  if (params.s > 0) {
    params.shared_gate_up = shared_gate_up->const_data_ptr();
    params.shared_down = shared_down->const_data_ptr();
  }
  params.inner = inner.mutable_data_ptr();
  params.shared_inner = shared_inner.mutable_data_ptr();
  params.y = y_TD.mutable_data_ptr();
  params.dtype = DtypeOf(x_TD);
  LaunchMixExperts(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y_TD;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) { m.impl("mix_experts", TORCH_FN(MixExperts)); }

}  // namespace fathom::cuda
