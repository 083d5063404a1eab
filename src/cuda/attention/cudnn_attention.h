// Attention of training through cuDNN's fused kernels, forward and backward: the packed form of ops/attention/attention.h where the host knows
// the longest sequence.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>

namespace fathom::cuda {

// 16-bit q, k, v of aligned rows with as many key heads as query heads, no window, no topk_idx, max_len given; Hopper or later (before it the kernels
// are slower or lack these head dims). Depends on what forward and backward both see, so both choose alike.
bool CudnnAttentionTakes(const at::Tensor& q_THD, const at::Tensor& k_SGD, const at::Tensor& v_SGD, const at::Tensor& cu_q, int64_t window,
                         const std::optional<at::Tensor>& topk_idx, int64_t max_len);

// (out [T, H, Dv], lse [T, H] float32). Sequences of one length run as a dense batch, others by their limits on the device.
std::tuple<at::Tensor, at::Tensor> CudnnAttentionForward(const at::Tensor& q_THD, const at::Tensor& k_THD, const at::Tensor& v_THD, const at::Tensor& cu,
                                                         double scale, int64_t max_len);
// (dq, dk, dv), contiguous.
std::tuple<at::Tensor, at::Tensor, at::Tensor> CudnnAttentionBackward(const at::Tensor& dout_THD, const at::Tensor& q_THD, const at::Tensor& k_THD,
                                                                      const at::Tensor& v_THD, const at::Tensor& out_THD, const at::Tensor& lse_TH,
                                                                      const at::Tensor& cu, double scale, int64_t max_len);

}  // namespace fathom::cuda
