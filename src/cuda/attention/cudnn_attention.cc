#include "cuda/attention/cudnn_attention.h"

#include <ATen/ops/_cudnn_attention_backward.h>
#include <ATen/ops/_cudnn_attention_forward.h>
#include <ATen/ops/empty.h>

#include <cstdint>

#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

bool IsDense(const Tensor& x_THD, const Tensor& cu, int64_t max_len) { return x_THD.size(0) == (cu.size(0) - 1) * max_len; }

// [T, H, D] -> [B, H, S, D], a view.
Tensor AsBatch(const Tensor& x_THD, int64_t max_len) { return x_THD.unflatten(0, {-1, max_len}).transpose(1, 2); }
Tensor AsPacked(const Tensor& x_BHSD) { return x_BHSD.transpose(1, 2).flatten(0, 1).contiguous(); }

}  // namespace

bool CudnnAttentionTakes(const Tensor& q_THD, const Tensor& k_SGD, const Tensor& v_SGD, const Tensor& cu_q, int64_t window,
                         const std::optional<Tensor>& topk_idx, int64_t max_len) {
  if (max_len <= 0 || window >= 0 || topk_idx || q_THD.size(0) == 0 || cu_q.size(0) < 2 || ComputeMajor() < 9) return false;
  if (q_THD.scalar_type() != at::kBFloat16 && q_THD.scalar_type() != at::kHalf) return false;
  if (k_SGD.size(0) != q_THD.size(0) || k_SGD.size(1) != q_THD.size(1) || !IsDense(q_THD, cu_q, max_len)) return false;
  if (q_THD.size(2) > 192 || v_SGD.size(2) > 128 || q_THD.size(2) % 8 != 0 || v_SGD.size(2) % 8 != 0) return false;
  return HasAlignedRows(q_THD) && HasAlignedRows(k_SGD) && HasAlignedRows(v_SGD);
}

std::tuple<Tensor, Tensor> CudnnAttentionForward(const Tensor& q_THD, const Tensor& k_THD, const Tensor& v_THD, const Tensor& cu, double scale,
                                                 int64_t max_len) {
  const auto result = at::_cudnn_attention_forward(AsBatch(q_THD, max_len), AsBatch(k_THD, max_len), AsBatch(v_THD, max_len), std::nullopt, std::nullopt,
                                                   std::nullopt, max_len, max_len, /*compute_log_sumexp=*/true, /*dropout_p=*/0.0, /*is_causal=*/true,
                                                   /*return_debug_mask=*/false, scale);
  const Tensor lse_BHS = std::get<1>(result).view({cu.size(0) - 1, q_THD.size(1), max_len});
  return {AsPacked(std::get<0>(result)), lse_BHS.transpose(1, 2).flatten(0, 1).contiguous()};
}

std::tuple<Tensor, Tensor, Tensor> CudnnAttentionBackward(const Tensor& dout_THD, const Tensor& q_THD, const Tensor& k_THD, const Tensor& v_THD,
                                                          const Tensor& out_THD, const Tensor& lse_TH, const Tensor& cu, double scale, int64_t max_len) {
  const Tensor lse_BHS1 = lse_TH.unflatten(0, {cu.size(0) - 1, max_len}).transpose(1, 2).contiguous().unsqueeze(3);
  const Tensor unused = at::empty({1}, q_THD.options().dtype(at::kLong));  // the state of a dropout that is not there
  const auto [dq, dk, dv] = at::_cudnn_attention_backward(AsBatch(dout_THD, max_len), AsBatch(q_THD, max_len), AsBatch(k_THD, max_len),
                                                          AsBatch(v_THD, max_len), AsBatch(out_THD, max_len), lse_BHS1, unused, unused, Tensor(), Tensor(),
                                                          Tensor(), max_len, max_len, 0.0, true, scale);
  return {AsPacked(dq), AsPacked(dk), AsPacked(dv)};
}

}  // namespace fathom::cuda
