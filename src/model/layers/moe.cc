// Legend: T packed tokens, D hidden_size, E routed experts, K chosen experts, M = T * K rows sorted by expert.
#include "model/layers/moe.h"

#include <ATen/ops/add.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>

#include <optional>
#include <utility>

#include "base/error.h"
#include "model/linear/weight_grad_queue.h"
#include "model/token_dispatcher.h"
#include "ops/balance/balance.h"
#include "ops/experts/mix_experts.h"
#include "ops/linear/linear_rows.h"
#include "ops/router/router_logits.h"
#include "ops/swiglu/swiglu.h"

namespace fathom {
namespace {

ops::RouterParams ParamsOf(const ModelConfig& config) {
  ops::RouterParams params;
  params.top_k = config.num_experts_per_tok;
  params.score_func = config.routing == Routing::kNoauxTc ? 1 : 0;
  params.n_group = config.n_group;
  params.topk_group = config.topk_group;
  params.group_top2 = config.routing == Routing::kNoauxTc;
  params.norm_topk_prob = config.norm_topk_prob;
  params.routed_scaling_factor = config.routed_scaling_factor;
  return params;
}

}  // namespace

Moe::Moe(const ModelConfig& config, int64_t layer_idx, int64_t trace_idx, WeightStore& store)
    : num_experts_(config.n_routed_experts),
      trace_idx_(trace_idx),
      experts_are_apart_(store.ExpertsAreApart(layer_idx)),
      params_(ParamsOf(config)),
      router_(store.MakeLinear({WeightRole::kRouter}, layer_idx)),
      gate_up_(store.MakeGrouped({WeightRole::kExpertGate, WeightRole::kExpertUp}, layer_idx)),
      down_(store.MakeGrouped({WeightRole::kExpertDown}, layer_idx)) {
  if (store.Has(WeightRole::kRouterBias, layer_idx)) bias_ = store.Tensor({WeightRole::kRouterBias}, layer_idx);
  if (store.Has(WeightRole::kLogTemperature, layer_idx)) {
    log_temperature_ = store.Tensor({WeightRole::kLogTemperature}, layer_idx);
    log_temperature_.zero_();  // a file may leave it out
  }
  if (config.n_shared_experts > 0) shared_ = std::make_unique<Mlp>(WeightRole::kSharedGate, WeightRole::kSharedUp, WeightRole::kSharedDown, layer_idx, store);
}

at::Tensor Moe::Logits(const at::Tensor& x_TD, const LayerStep& step) const {
  const at::Tensor w_ED = step.trains() && WeightGradScope::Current() == nullptr ? router_.weight()->trainable() : at::Tensor();
  const bool is_plain = w_ED.defined() && w_ED.scalar_type() == x_TD.scalar_type() && !router_.bias();
  const at::Tensor logits_TE = is_plain ? ops::router_logits(x_TD, w_ED) : router_(x_TD.to(at::kFloat));
  if (!log_temperature_.defined()) return logits_TE;
  return logits_TE.div(log_temperature_.exp().mul(step.context.router_temperature));
}

at::Tensor Moe::WithBalance(const at::Tensor& logits_TE, const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, BalanceLoss& balance) const {
  const auto [f_BE, p_BE] = ops::balance_terms(logits_TE.detach(), topk_idx_TK, balance.cu_seqlens, params_.score_func);
  At(balance.terms_B) = f_BE.mul(p_BE).sum(1);
  return ops::attach_balance_loss(weights_TK, logits_TE, f_BE, balance.cu_seqlens, balance.scale, params_.score_func);
}

std::tuple<at::Tensor, at::Tensor> Moe::Route(const at::Tensor& x_TD, const LayerStep& step) const {
  RoutingTrace* trace = step.context.routing;
  const std::optional<at::Tensor> bias_E = bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt;
  const bool replays = trace != nullptr && trace->replay;
  at::Tensor weights_TK, topk_idx_TK;
  if (!replays && !step.trains() && x_TD.size(0) <= ops::kMaxLinearRows && !log_temperature_.defined()) {
    const at::Tensor w_ED = router_.weight()->trainable();
    if (w_ED.defined() && (w_ED.scalar_type() == at::kFloat || w_ED.scalar_type() == at::kBFloat16)) {
      std::tie(weights_TK, topk_idx_TK) = ops::route_tokens(x_TD, w_ED, bias_E, params_);
    }
  }
  if (!weights_TK.defined()) {
    const at::Tensor logits_TE = Logits(x_TD, step);
    if (replays) {
      FATHOM_CHECK(static_cast<size_t>(trace_idx_) < trace->topk_idx.size(), "a trace of {} layers has no choices for layer {}", trace->topk_idx.size(),
                   trace_idx_);
      topk_idx_TK = trace->topk_idx[static_cast<size_t>(trace_idx_)];
      weights_TK = ops::route_replay(logits_TE, topk_idx_TK, params_);
    } else {
      std::tie(weights_TK, topk_idx_TK) = ops::route(logits_TE, bias_E, params_);
    }
    if (step.context.balance != nullptr) weights_TK = WithBalance(logits_TE, weights_TK, topk_idx_TK, *step.context.balance);
  }
  if (trace != nullptr && !replays) At(trace->topk_idx) = topk_idx_TK;
  if (trace != nullptr && trace->count) At(trace->counts_E) = ops::count_choices(topk_idx_TK, num_experts_);
  return {weights_TK, topk_idx_TK};
}

std::optional<at::Tensor> Moe::Mixed(const at::Tensor& x_TD, const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, const Mlp* shared) const {
  if (x_TD.size(0) > ops::kMaxMixedTokens) return std::nullopt;
  const at::Tensor gate_up = gate_up_.weight()->trainable(), down = down_.weight()->trainable();
  const at::Tensor shared_gate_up = shared ? shared->gate_up().weight()->trainable() : gate_up;
  const at::Tensor shared_down = shared ? shared->down().weight()->trainable() : down;
  for (const at::Tensor& w : {gate_up, down, shared_gate_up, shared_down}) {
    if (!w.defined() || w.scalar_type() != x_TD.scalar_type()) return std::nullopt;
  }
  if (!shared) return ops::mix_experts(x_TD, weights_TK, topk_idx_TK, gate_up, down, std::nullopt, std::nullopt);
  if (shared->gate_up().bias() || shared->down().bias()) return std::nullopt;
  return ops::mix_experts(x_TD, weights_TK, topk_idx_TK, gate_up, down, shared_gate_up, shared_down);
}

at::Tensor Moe::Routed(const at::Tensor& x_TD, const at::Tensor& weights_TK, const at::Tensor& topk_idx_TK, const ForwardContext& context) const {
  const TokenDispatcher& dispatcher = context.dispatcher != nullptr ? *context.dispatcher : LocalDispatcher();
  const RecomputePlan* plan = context.recompute;
  const auto experts = [this, plan](const at::Tensor& x_MD, const at::Tensor& offsets) {
    const at::Tensor gate_up = gate_up_(x_MD, offsets);
    return plan != nullptr && plan->swiglu ? down_(SwigluOf(gate_up), offsets) : down_(ops::swiglu(gate_up), offsets);
  };
  return dispatcher.Run(x_TD, topk_idx_TK, weights_TK, num_experts_, experts);
}

at::Tensor Moe::operator()(const at::Tensor& x_TD, const LayerStep& step) const {
  const auto [weights_TK, topk_idx_TK] = Route(x_TD, step);
  at::Tensor routed_TD;
  if (experts_are_apart_) {  // the rows go to the experts' weights and come back
    const at::Tensor x = x_TD.to(at::kCPU), weights = weights_TK.to(at::kCPU), topk_idx = topk_idx_TK.to(at::kCPU);
    std::optional<at::Tensor> mixed_TD;
    if (!step.trains()) mixed_TD = Mixed(x, weights, topk_idx, nullptr);
    routed_TD = (mixed_TD ? *mixed_TD : Routed(x, weights, topk_idx, step.context)).to(x_TD.device());
  } else {
    if (step.context.dispatcher == nullptr && !step.trains()) {
      if (const std::optional<at::Tensor> mixed_TD = Mixed(x_TD, weights_TK, topk_idx_TK, shared_.get())) return *mixed_TD;
    }
    routed_TD = Routed(x_TD, weights_TK, topk_idx_TK, step.context);
  }
  return shared_ ? at::add(routed_TD, (*shared_)(x_TD, step)) : routed_TD;
}

}  // namespace fathom
