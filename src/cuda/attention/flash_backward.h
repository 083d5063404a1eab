// The backward of packed attention through LibTorch's FlashAttention-2: sequences of any lengths (documents in a row), where the host knows the longest.
// It takes the logsumexp of whichever forward ran.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>

namespace fathom::cuda {

// 16-bit q, k, v of aligned rows, key heads that divide the query heads, values no wider than keys and keys of at most 256, no window, no topk_idx, max_len
// given; Ampere or later.
bool FlashBackwardTakes(const at::Tensor& q_THD, const at::Tensor& k_SGD, const at::Tensor& v_SGD, const at::Tensor& cu_q, int64_t window,
                        const std::optional<at::Tensor>& topk_idx, int64_t max_len);

// (dq, dk, dv), contiguous. lse [T, H] float32, natural logarithms. Values narrower than keys are widened with zeros: the library has one width for both.
std::tuple<at::Tensor, at::Tensor, at::Tensor> FlashBackward(const at::Tensor& dout_THD, const at::Tensor& q_THD, const at::Tensor& k_SGD, const at::Tensor& v_SGD,
                                                             const at::Tensor& out_THD, const at::Tensor& lse_TH, const at::Tensor& cu, double scale,
                                                             int64_t max_len);

}  // namespace fathom::cuda
