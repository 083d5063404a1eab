// Every operator of the namespace `fathom` with its C++ signature; library.cc has the schemas in the same order.
// The CUDA library registers kernels for the same names. Formulas and shapes are in the contracts (NAME/NAME.h).
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>

#include "ops/dispatch.h"

namespace fathom::ops {

using at::Tensor;
using OptionalTensor = std::optional<at::Tensor>;

// linear
using LinearRowsOp = Op<"fathom::linear_rows", Tensor(const Tensor&, const Tensor&, const OptionalTensor&)>;

// ggml_linear: format is a BlockFormat
using GgmlLinearRowsOp = Op<"fathom::ggml_linear_rows", Tensor(const Tensor&, const Tensor&, int64_t)>;
using GgmlExpandOp = Op<"fathom::ggml_expand", Tensor(const Tensor&, int64_t)>;

// norm. The backward of rms_norm (dy, x, w, eps, added) gives (dx + added, dw); dw is summed in float32.
using RmsNormOp = Op<"fathom::rms_norm", Tensor(const Tensor&, const Tensor&, double)>;
using RmsNormBackwardOp =
    Op<"fathom::rms_norm_backward", std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, double, const OptionalTensor&)>;
using AddRmsNormOp = Op<"fathom::add_rms_norm", std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, double)>;

// rope
using RopeOp = Op<"fathom::rope", Tensor(const Tensor&, const Tensor&, const Tensor&, bool)>;
using RopeBackwardOp = Op<"fathom::rope_backward", Tensor(const Tensor&, const Tensor&, const Tensor&, bool)>;

// swiglu
using SwigluOp = Op<"fathom::swiglu", Tensor(const Tensor&)>;
using SwigluBackwardOp = Op<"fathom::swiglu_backward", Tensor(const Tensor&, const Tensor&)>;

// router: (logits, bias, top_k, score_func, n_group, topk_group, group_top2, norm_topk_prob, routed_scaling_factor)
using RouteOp = Op<"fathom::route", std::tuple<Tensor, Tensor>(const Tensor&, const OptionalTensor&, int64_t, int64_t, int64_t, int64_t,
                                                               bool, bool, double)>;
// (logits, topk_idx, score_func, norm_topk_prob, routed_scaling_factor)
using RouteReplayOp = Op<"fathom::route_replay", Tensor(const Tensor&, const Tensor&, int64_t, bool, double)>;
// (dweights, logits, topk_idx, score_func, norm_topk_prob, routed_scaling_factor) -> dlogits
using RouteBackwardOp = Op<"fathom::route_backward", Tensor(const Tensor&, const Tensor&, const Tensor&, int64_t, bool, double)>;

// (x, w, bias, then as route)
using RouteTokensOp = Op<"fathom::route_tokens", std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const OptionalTensor&, int64_t, int64_t,
                                                                            int64_t, int64_t, bool, bool, double)>;

// experts. mix_experts: (x, weights, topk_idx, gate_up, down, shared_gate_up, shared_down)
using MixExpertsOp = Op<"fathom::mix_experts", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                                                      const OptionalTensor&)>;
using SortByExpertOp = Op<"fathom::sort_by_expert", std::tuple<Tensor, Tensor>(const Tensor&, int64_t)>;
using GatherTokensOp = Op<"fathom::gather_tokens", Tensor(const Tensor&, const Tensor&, int64_t)>;
using GatherTokensBackwardOp = Op<"fathom::gather_tokens_backward", Tensor(const Tensor&, const Tensor&, int64_t)>;
using CombineTokensOp = Op<"fathom::combine_tokens", Tensor(const Tensor&, const Tensor&, const Tensor&)>;
// (dy, x_sorted, order, weights) -> (dx_sorted, dweights)
using CombineTokensBackwardOp =
    Op<"fathom::combine_tokens_backward", std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, const Tensor&)>;
using GroupedLinearOp = Op<"fathom::grouped_linear", Tensor(const Tensor&, const Tensor&, const Tensor&)>;
using GroupedLinearDgradOp = Op<"fathom::grouped_linear_dgrad", Tensor(const Tensor&, const Tensor&, const Tensor&)>;
using GroupedLinearWgradOp = Op<"fathom::grouped_linear_wgrad", Tensor(const Tensor&, const Tensor&, const Tensor&)>;

// fp8: (x, offsets, rows?, columns?, power_of_two) -> values and scales of either form, empty where it is not asked for
using Fp8QuantizeOp = Op<"fathom::fp8_quantize", std::tuple<Tensor, Tensor, Tensor, Tensor>(const Tensor&, const OptionalTensor&, bool, bool, bool)>;
using Fp8QuantizeWeightOp = Op<"fathom::fp8_quantize_weight", std::tuple<Tensor, Tensor, Tensor, Tensor>(const Tensor&, bool)>;
// (x, x_scales, w, w_scales, offsets, dtype)
using Fp8LinearOp = Op<"fathom::fp8_linear", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&, at::ScalarType)>;
// (dy, dy_scales, x, x_scales, offsets, num_rows, dtype)
using Fp8WgradOp =
    Op<"fathom::fp8_wgrad", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&, int64_t, at::ScalarType)>;
using Fp8LinearRowsOp = Op<"fathom::fp8_linear_rows", Tensor(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&)>;
using Fp8GroupedRowsOp = Op<"fathom::fp8_grouped_rows", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&)>;

// attention. packed_attention_forward gives (out, lse [Tq, H] float32, natural logarithm, -inf for a query that sees no key).
using PackedAttentionOp = Op<"fathom::packed_attention", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                                double, int64_t, const OptionalTensor&, int64_t)>;
using PackedAttentionForwardOp =
    Op<"fathom::packed_attention_forward", std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                                      const Tensor&, double, int64_t, const OptionalTensor&, int64_t)>;
// (dout, q, k, v, out, lse, cu_q, cu_k, scale, window, topk_idx, max_len) -> (dq, dk, dv), contiguous
using PackedAttentionBackwardOp =
    Op<"fathom::packed_attention_backward",
       std::tuple<Tensor, Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                          const Tensor&, const Tensor&, double, int64_t, const OptionalTensor&, int64_t)>;
// mla_attention. mla_keys: (kv, k_rope, nope) -> k; its backward: (dk, dv, nope) -> (dkv, dk_rope)
using RopeTailOp = Op<"fathom::rope_tail", Tensor(const Tensor&, const Tensor&, const Tensor&, bool)>;
using RopeTailBackwardOp = Op<"fathom::rope_tail_backward", Tensor(const Tensor&, const Tensor&, const Tensor&, bool)>;
using MlaKeysOp = Op<"fathom::mla_keys", Tensor(const Tensor&, const Tensor&, int64_t)>;
using MlaKeysBackwardOp = Op<"fathom::mla_keys_backward", std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, int64_t)>;
using PagedAttentionOp = Op<"fathom::paged_attention", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                              const Tensor&, double, int64_t)>;
using MlaPagedAttentionOp =
    Op<"fathom::mla_paged_attention", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                             double, const OptionalTensor&)>;

// cross_entropy: (logits, targets, scales, z_loss, gradient) -> (nll, lse); with `gradient` the logits become their gradient
using CrossEntropyRowsOp =
    Op<"fathom::cross_entropy_rows", std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, double, bool)>;

// adamw: (weights, gradients, first_moments, second_moments, masters, norm, lr, beta1, beta2, eps, weight_decay, max_norm, step)
using GradientNormOp = Op<"fathom::gradient_norm", Tensor(at::TensorList)>;
using AdamWOp = Op<"fathom::adamw", void(at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList, const Tensor&, double, double,
                                         double, double, double, double, int64_t)>;

// balance. balance_backward: (logits, f, cu_seqlens, scale, score_func) -> dlogits
using CountChoicesOp = Op<"fathom::count_choices", Tensor(const Tensor&, int64_t)>;
using BalanceTermsOp = Op<"fathom::balance_terms", std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, int64_t)>;
using BalanceBackwardOp = Op<"fathom::balance_backward", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, int64_t)>;

// cache. They write into their first argument. store_latents: (cache, slots, kv_a, w, q_rope, cos, sin, eps, interleaved)
using StoreRowsOp = Op<"fathom::store_rows", void(const Tensor&, const Tensor&, const Tensor&, const Tensor&)>;
using StoreLatentsOp = Op<"fathom::store_latents", Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                          const Tensor&, double, bool)>;

}  // namespace fathom::ops
