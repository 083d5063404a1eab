#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>

#include "cuda/launch.h"
#include "cuda/mla_training/mla_training_kernel.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

template <bool kBackward>
Tensor RopeTail(const Tensor& x_THD, const Tensor& cos_TD, const Tensor& sin_TD, bool interleaved) {
  const c10::cuda::CUDAGuard guard(x_THD.device());
  const Tensor x = x_THD.contiguous(), cos = cos_TD.contiguous(), sin = sin_TD.contiguous();
  Tensor y = at::empty(x.sizes(), x.options());
  if (y.numel() == 0) return y;
  TORCH_CHECK(x.size(2) % 2 == 0, "rope_tail: heads of an even width, got ", x.size(2));
  RopeTailParams params;
  params.x = x.const_data_ptr();
  params.cos = cos.const_data_ptr<float>();
  params.sin = sin.const_data_ptr<float>();
  params.y = y.mutable_data_ptr();
  params.tokens = x.size(0);
  params.heads = static_cast<int>(x.size(1));
  params.dim = static_cast<int>(x.size(2));
  params.half = static_cast<int>(cos.size(1));
  params.interleaved = interleaved;
  params.backward = kBackward;
  params.dtype = DtypeOf(x);
  LaunchRopeTail(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

Tensor MlaKeys(const Tensor& kv_THC, const Tensor& k_rope_TR, int64_t nope) {
  const c10::cuda::CUDAGuard guard(kv_THC.device());
  const Tensor kv = kv_THC.contiguous(), k_rope = k_rope_TR.contiguous();
  Tensor k = at::empty({kv.size(0), kv.size(1), nope + k_rope.size(1)}, kv.options());
  if (k.numel() == 0) return k;
  MlaKeysParams params;
  params.kv = kv.const_data_ptr();
  params.k_rope = k_rope.const_data_ptr();
  params.k = k.mutable_data_ptr();
  params.tokens = kv.size(0);
  params.heads = static_cast<int>(kv.size(1));
  params.nope = static_cast<int>(nope);
  params.rope = static_cast<int>(k_rope.size(1));
  params.v = static_cast<int>(kv.size(2) - nope);
  params.dtype = DtypeOf(kv);
  LaunchMlaKeys(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return k;
}

std::tuple<Tensor, Tensor> MlaKeysBackward(const Tensor& dk_THD, const Tensor& dv_THV, int64_t nope) {
  const c10::cuda::CUDAGuard guard(dk_THD.device());
  const Tensor dk = dk_THD.contiguous(), dv = dv_THV.contiguous();
  const int64_t rope = dk.size(2) - nope;
  Tensor dkv = at::empty({dk.size(0), dk.size(1), nope + dv.size(2)}, dk.options()), dk_rope = at::empty({dk.size(0), rope}, dk.options());
  if (dkv.numel() == 0) return {dkv, dk_rope};
  MlaKeysBackwardParams params;
  params.dk = dk.const_data_ptr();
  params.dv = dv.const_data_ptr();
  params.dkv = dkv.mutable_data_ptr();
  params.dk_rope = dk_rope.mutable_data_ptr();
  params.tokens = dk.size(0);
  params.heads = static_cast<int>(dk.size(1));
  params.nope = static_cast<int>(nope);
  params.rope = static_cast<int>(rope);
  params.v = static_cast<int>(dv.size(2));
  params.dtype = DtypeOf(dk);
  LaunchMlaKeysBackward(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {dkv, dk_rope};
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("rope_tail", TORCH_FN(RopeTail<false>));
  m.impl("rope_tail_backward", TORCH_FN(RopeTail<true>));
  m.impl("mla_keys", TORCH_FN(MlaKeys));
  m.impl("mla_keys_backward", TORCH_FN(MlaKeysBackward));
}

}  // namespace fathom::cuda
