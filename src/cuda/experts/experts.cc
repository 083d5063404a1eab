#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>

#include "cuda/experts/experts_kernel.h"
#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

// Up to this many choices combine_tokens looks for a token's rows in `order` itself.
constexpr int64_t kSearchedChoices = 1024;
// Up to this many rows an expert on average our own kernel, bound by memory, is the faster one.
constexpr int64_t kSmallGroupRows = 16;

std::tuple<Tensor, Tensor> SortByExpert(const Tensor& topk_idx_TK, int64_t num_experts) {
  const c10::cuda::CUDAGuard guard(topk_idx_TK.device());
  const Tensor topk_idx = topk_idx_TK.contiguous();
  Tensor order = at::empty({topk_idx.numel()}, topk_idx.options()), offsets = at::empty({num_experts + 1}, topk_idx.options());
  SortByExpertParams params;
  params.choices = static_cast<int>(topk_idx.numel());
  params.experts = static_cast<int>(num_experts);
  params.topk_idx = topk_idx.const_data_ptr<int32_t>();
  params.order = order.mutable_data_ptr<int32_t>();
  params.offsets = offsets.mutable_data_ptr<int32_t>();
  const int chunks = NumSortChunks(params.choices);
  Tensor counts;
  if (chunks > 1) {
    counts = at::empty({chunks, num_experts}, topk_idx.options());
    params.counts = counts.mutable_data_ptr<int32_t>();
  }
  LaunchSortByExpert(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {order, offsets};
}

// The inverse of order for many choices, undefined for few: those are searched for.
Tensor PositionsOf(const Tensor& order, int64_t tokens, int64_t top_k) {
  Tensor position;
  if (order.numel() <= kSearchedChoices || order.numel() != tokens * top_k) return position;
  position = at::empty(order.sizes(), order.options());
  LaunchInverse(order.const_data_ptr<int32_t>(), position.mutable_data_ptr<int32_t>(), static_cast<int>(order.numel()), CurrentStream());
  return position;
}

Tensor GatherTokens(const Tensor& x_TD, const Tensor& order, int64_t top_k) {
  const c10::cuda::CUDAGuard guard(x_TD.device());
  const Tensor x = x_TD.contiguous();
  Tensor y = at::empty({order.numel(), x.size(1)}, x.options());
  if (y.numel() == 0) return y;
  const Tensor position = PositionsOf(order, x.size(0), top_k);
  MoveRowsParams params;
  params.x = x.const_data_ptr();
  params.y = y.mutable_data_ptr();
  params.order = order.const_data_ptr<int32_t>();
  params.position = position.defined() ? position.const_data_ptr<int32_t>() : nullptr;
  params.tokens = x.size(0);
  params.top_k = static_cast<int>(top_k);
  params.d = static_cast<int>(x.size(1));
  params.dtype = DtypeOf(x);
  LaunchGatherTokens(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

// y[t] = sum_k weights[t, k] x[pos(t K + k)]; weights may be undefined: ones.
Tensor SumChoices(const Tensor& x_sorted, const Tensor& order, const Tensor& weights, int64_t top_k) {
  const c10::cuda::CUDAGuard guard(x_sorted.device());
  const Tensor x = x_sorted.contiguous();
  const int64_t choices = order.numel();
  Tensor y_TD = at::empty({choices / top_k, x.size(1)}, x.options());
  if (y_TD.numel() == 0) return y_TD;
  const Tensor position = PositionsOf(order, choices / top_k, top_k);
  MoveRowsParams params;
  params.position = position.defined() ? position.const_data_ptr<int32_t>() : nullptr;
  params.x = x.const_data_ptr();
  params.y = y_TD.mutable_data_ptr();
  params.order = order.const_data_ptr<int32_t>();
  params.weights = weights.defined() ? weights.const_data_ptr<float>() : nullptr;
  params.tokens = y_TD.size(0);
  params.top_k = static_cast<int>(top_k);
  params.d = static_cast<int>(x.size(1));
  params.dtype = DtypeOf(x);
  LaunchCombineTokens(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y_TD;
}

Tensor GatherTokensBackward(const Tensor& dy, const Tensor& order, int64_t top_k) { return SumChoices(dy, order, Tensor(), top_k); }

Tensor CombineTokens(const Tensor& x_sorted, const Tensor& order, const Tensor& weights_TK) {
  return SumChoices(x_sorted, order, weights_TK.contiguous(), weights_TK.size(1));
}

std::tuple<Tensor, Tensor> CombineTokensBackward(const Tensor& dy_TD, const Tensor& x_sorted, const Tensor& order, const Tensor& weights_TK) {
  const c10::cuda::CUDAGuard guard(dy_TD.device());
  const Tensor dy = dy_TD.contiguous(), x = x_sorted.contiguous(), weights = weights_TK.contiguous();
  Tensor dx = at::empty(x.sizes(), x.options()), dweights = at::empty(weights.sizes(), weights.options());
  if (x.size(0) == 0) return {dx, dweights};
  const Tensor position = PositionsOf(order, weights.size(0), weights.size(1));
  CombineBackwardParams params;
  params.position = position.defined() ? position.const_data_ptr<int32_t>() : nullptr;
  params.dy = dy.const_data_ptr();
  params.x = x.const_data_ptr();
  params.order = order.const_data_ptr<int32_t>();
  params.weights = weights.const_data_ptr<float>();
  params.dx = dx.mutable_data_ptr();
  params.dweights = dweights.mutable_data_ptr<float>();
  params.tokens = weights.size(0);
  params.top_k = static_cast<int>(weights.size(1));
  params.d = static_cast<int>(x.size(1));
  params.dtype = DtypeOf(x);
  LaunchCombineBackward(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {dx, dweights};
}

// LibTorch's grouped product on Hopper and Blackwell: bf16, rows of 16-byte multiples. Elsewhere it reads the offsets on the host.
bool LibraryHasGroupedProduct(const Tensor& a, const Tensor& b) {
  const int major = ComputeMajor();
  return (major == 9 || major == 10) && a.scalar_type() == at::kBFloat16 && a.size(-1) % 8 == 0 && b.size(-1) % 8 == 0 && IsAligned16(a) &&
         IsAligned16(b);
}

GroupedLinearParams MakeParams(const Tensor& a, const Tensor& b, const Tensor& offsets, Tensor& out) {
  GroupedLinearParams params;
  params.a = a.const_data_ptr();
  params.b = b.const_data_ptr();
  params.out = out.mutable_data_ptr();
  params.offsets = offsets.const_data_ptr<int32_t>();
  params.rows = static_cast<int>(a.size(0));
  params.experts = static_cast<int>(offsets.numel() - 1);
  params.dtype = DtypeOf(a);
  return params;
}

Tensor GroupedLinear(const Tensor& x_MK, const Tensor& w_ENK, const Tensor& offsets_E1) {
  const c10::cuda::CUDAGuard guard(x_MK.device());
  const Tensor x = x_MK.contiguous(), w = w_ENK.contiguous(), offsets = offsets_E1.contiguous();
  if (x.size(0) > kSmallGroupRows * w.size(0) && w.size(1) % 8 == 0 && LibraryHasGroupedProduct(x, w))
    return at::_grouped_mm(x, w.transpose(1, 2), offsets.slice(0, 1));
  Tensor y = at::empty({x.size(0), w.size(1)}, x.options());
  if (y.numel() == 0) return y;
  GroupedLinearParams params = MakeParams(x, w, offsets, y);
  params.n = static_cast<int>(w.size(1));
  params.k = static_cast<int>(w.size(2));
  LaunchGroupedLinear(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

Tensor GroupedLinearDgrad(const Tensor& dy_MN, const Tensor& w_ENK, const Tensor& offsets_E1) {
  const c10::cuda::CUDAGuard guard(dy_MN.device());
  const Tensor dy = dy_MN.contiguous(), w = w_ENK.contiguous(), offsets = offsets_E1.contiguous();
  if (dy.size(0) > 0 && LibraryHasGroupedProduct(dy, w)) return at::_grouped_mm(dy, w, offsets.slice(0, 1));
  Tensor dx = at::empty({dy.size(0), w.size(2)}, dy.options());
  if (dx.numel() == 0) return dx;
  GroupedLinearParams params = MakeParams(dy, w, offsets, dx);
  params.n = static_cast<int>(w.size(1));
  params.k = static_cast<int>(w.size(2));
  LaunchGroupedLinearDgrad(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return dx;
}

Tensor GroupedLinearWgrad(const Tensor& dy_MN, const Tensor& x_MK, const Tensor& offsets_E1) {
  const c10::cuda::CUDAGuard guard(dy_MN.device());
  const Tensor dy = dy_MN.contiguous(), x = x_MK.contiguous(), offsets = offsets_E1.contiguous();
  if (dy.size(0) > 0 && LibraryHasGroupedProduct(dy, x)) return at::_grouped_mm(dy.t(), x, offsets.slice(0, 1));
  Tensor dw = at::empty({offsets.numel() - 1, dy.size(1), x.size(1)}, dy.options());
  if (dw.numel() == 0) return dw;
  if (dy.size(0) == 0) return dw.zero_();
  GroupedLinearParams params = MakeParams(dy, x, offsets, dw);
  params.n = static_cast<int>(dy.size(1));
  params.k = static_cast<int>(x.size(1));
  LaunchGroupedLinearWgrad(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return dw;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("sort_by_expert", TORCH_FN(SortByExpert));
  m.impl("gather_tokens", TORCH_FN(GatherTokens));
  m.impl("gather_tokens_backward", TORCH_FN(GatherTokensBackward));
  m.impl("combine_tokens", TORCH_FN(CombineTokens));
  m.impl("combine_tokens_backward", TORCH_FN(CombineTokensBackward));
  m.impl("grouped_linear", TORCH_FN(GroupedLinear));
  m.impl("grouped_linear_dgrad", TORCH_FN(GroupedLinearDgrad));
  m.impl("grouped_linear_wgrad", TORCH_FN(GroupedLinearWgrad));
}

}  // namespace fathom::cuda
