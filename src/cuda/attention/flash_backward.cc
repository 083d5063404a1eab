#include "cuda/attention/flash_backward.h"

#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "cuda/attention/widen_heads_kernel.h"
#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

constexpr int64_t kMostHeadDim = 256;

// [T, H, D] -> [T, H, width], zeros behind each head.
Tensor Widen(const Tensor& x_THD, int64_t width) {
  if (x_THD.size(2) == width) return x_THD;
  Tensor y = at::empty({x_THD.size(0), x_THD.size(1), width}, x_THD.options());
  WidenHeadsParams params;
  params.x = x_THD.const_data_ptr();
  params.y = y.mutable_data_ptr();
  params.tokens = x_THD.size(0);
  params.token_stride = x_THD.stride(0) / 8;
  params.head_stride = x_THD.stride(1) / 8;
  params.heads = static_cast<int>(x_THD.size(1));
  params.dim = static_cast<int>(x_THD.size(2) / 8);
  params.width = static_cast<int>(width / 8);
  LaunchWidenHeads(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

}  // namespace

bool FlashBackwardTakes(const Tensor& q_THD, const Tensor& k_SGD, const Tensor& v_SGD, const Tensor& cu_q, int64_t window,
                        const std::optional<Tensor>& topk_idx, int64_t max_len) {
  if (max_len <= 0 || window >= 0 || topk_idx || q_THD.size(0) == 0 || cu_q.size(0) < 2 || ComputeMajor() < 8) return false;
  if (q_THD.scalar_type() != at::kBFloat16 && q_THD.scalar_type() != at::kHalf) return false;
  const int64_t dk = q_THD.size(2), dv = v_SGD.size(2);
  if (k_SGD.size(0) != q_THD.size(0) || q_THD.size(1) % k_SGD.size(1) != 0 || dk > kMostHeadDim || dv > dk || dk % 8 != 0 || dv % 8 != 0) return false;
  return HasAlignedRows(q_THD) && HasAlignedRows(k_SGD) && HasAlignedRows(v_SGD);
}

std::tuple<Tensor, Tensor, Tensor> FlashBackward(const Tensor& dout_THD, const Tensor& q_THD, const Tensor& k_SGD, const Tensor& v_SGD, const Tensor& out_THD,
                                                 const Tensor& lse_TH, const Tensor& cu, double scale, int64_t max_len) {
  const int64_t width = q_THD.size(2), dv_width = v_SGD.size(2);
  // The state of a dropout that is not there.
  const Tensor seed = at::zeros({2}, q_THD.options().dtype(at::kUInt64)), unused = at::empty({}, seed.options());
  const auto [dq, dk, dv] =
      at::_flash_attention_backward(Widen(dout_THD, width), q_THD, k_SGD, Widen(v_SGD, width), Widen(out_THD, width), lse_TH.t().contiguous(), cu, cu, max_len,
                                    max_len, /*dropout_p=*/0.0, /*is_causal=*/true, seed, unused, scale);
  return {dq, dk, dv.narrow(2, 0, dv_width).contiguous()};
}

}  // namespace fathom::cuda
