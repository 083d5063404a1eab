#include "train/objective.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "model/capacity_dispatcher.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace fathom {
namespace {

at::Tensor Scalar(double value, at::Device device) { return at::full({1}, value, at::TensorOptions().dtype(at::kFloat).device(device)); }

// One forward of the model and its multi-token predictions: what it makes lives until the backward is over.
class Forward {
 public:
  Forward(const Model& model, const TrainBatch& batch, const StepTargets& targets, const ObjectiveOptions& options)
      : model_(model), batch_(batch), targets_(targets), options_(options), device_(batch.targets_T.device()) {}

  // The sum that the backward starts from.
  at::Tensor Run(bool with_balance) {
    trace_.count = true;
    if (options_.expert_capacity > 0) dispatcher_ = std::make_unique<CapacityDispatcher>(options_.expert_capacity);
    if (with_balance && options_.balance != BalanceKind::kNone && options_.balance_alpha > 0) {
      balance_scale_ = Scalar(options_.loss_scale * options_.balance_alpha / static_cast<double>(targets_.num_microbatches), device_);
    }
    const ForwardContext context = ContextOf(batch_.packed);
    at::Tensor hidden_TD = model_.Forward(batch_.packed, context);
    at::Tensor total = Loss(hidden_TD, batch_.targets_T, targets_.next_token, options_.loss_scale, losses_.next_token);
    if (options_.mtp_weight > 0) {
      const double weight = options_.loss_scale * options_.mtp_weight / static_cast<double>(std::max<size_t>(batch_.mtp.size(), 1));
      for (size_t depth = 0; depth < batch_.mtp.size(); ++depth) total = total.add(Predict(depth, weight, hidden_TD));
    }
    losses_.counts_E = trace_.counts_E;
    if (dispatcher_ != nullptr) {
      dispatcher_->StopCounting();
      losses_.dropped = dispatcher_->dropped();
    }
    std::vector<at::Tensor> terms;
    for (const auto& balance : balances_) {
      for (const at::Tensor& term_B : balance->terms_B) {
        if (term_B.defined()) terms.push_back(term_B.mean());
      }
    }
    if (!terms.empty()) losses_.balance = at::stack(terms).mean();
    return total;
  }

  Losses losses() const { return losses_; }

 private:
  ForwardContext ContextOf(const PackedBatch& packed) {
    backends_.push_back(MakePackedCausal(model_.config(), packed));
    ForwardContext context{.attention = backends_.back().get(), .dispatcher = dispatcher_.get(), .routing = &trace_,
                           .router_temperature = options_.router_temperature, .recompute = options_.recompute};
    if (balance_scale_.defined()) {
      balances_.push_back(std::make_unique<BalanceLoss>());
      context.balance = balances_.back().get();
      context.balance->scale = balance_scale_;
      context.balance->cu_seqlens =
          options_.balance == BalanceKind::kSequence ? packed.cu_seqlens : at::stack({Limit(0), Limit(packed.tokens_T.size(0))});
    }
    return context;
  }

  at::Tensor Limit(int64_t value) const { return at::full({}, value, at::TensorOptions().dtype(at::kInt).device(device_)); }

  // Adds the rows' mean loss to `out` (without its weight) and gives it weighted, with the graph.
  at::Tensor Loss(const at::Tensor& rows_RD, const at::Tensor& targets_R, int64_t num_targets, double weight, at::Tensor& out) const {
    const double denominator = static_cast<double>(std::max<int64_t>(num_targets, 1));
    const ops::CrossEntropy loss = ops::linear_cross_entropy(rows_RD, model_.HeadWeight(), targets_R,
                                                             {.denominator = Scalar(denominator / weight, device_), .z_loss = options_.z_loss});
    out = loss.nll_T.sum().div(denominator);
    return loss.loss;
  }

  // hidden_RD: rows of the depth before, then this depth's.
  at::Tensor Predict(size_t depth, double weight, at::Tensor& hidden_RD) {
    const MtpRows& mtp = batch_.mtp[depth];
    const auto depth_idx = static_cast<int64_t>(depth);
    hidden_RD = model_.Mtp(depth_idx, hidden_RD.index_select(0, mtp.rows), mtp.next_tokens, ContextOf(mtp.next_tokens));
    losses_.mtp.emplace_back();
    const int64_t num_targets = depth < targets_.mtp.size() ? targets_.mtp[depth] : mtp.num_targets;
    return Loss(model_.MtpHeadNorm(depth_idx, hidden_RD), mtp.targets, num_targets, weight, losses_.mtp.back());
  }

  const Model& model_;
  const TrainBatch& batch_;
  const StepTargets& targets_;
  const ObjectiveOptions& options_;
  const at::Device device_;
  std::vector<std::unique_ptr<AttentionBackend>> backends_;
  RoutingTrace trace_;
  std::unique_ptr<CapacityDispatcher> dispatcher_;  // null: experts take what chooses them
  at::Tensor balance_scale_;  // undefined: no balance loss
  std::vector<std::unique_ptr<BalanceLoss>> balances_;
  Losses losses_;
};

}  // namespace

StepTargets CountTargets(const std::vector<TrainBatch>& microbatches) {
  StepTargets targets;
  targets.num_microbatches = static_cast<int64_t>(microbatches.size());
  for (const TrainBatch& batch : microbatches) {
    targets.next_token += batch.num_targets;
    targets.mtp.resize(std::max(targets.mtp.size(), batch.mtp.size()));
    for (size_t depth = 0; depth < batch.mtp.size(); ++depth) targets.mtp[depth] += batch.mtp[depth].num_targets;
  }
  return targets;
}

Losses AddGradients(const Model& model, const TrainBatch& batch, const StepTargets& targets, const ObjectiveOptions& options) {
  FATHOM_CHECK(model.HeadWeight().defined(), "a model in a format that cannot be trained");
  const at::AutoGradMode with_grad(true);
  Forward forward(model, batch, targets, options);
  forward.Run(/*with_balance=*/true).backward();
  return forward.losses();
}

Losses EvaluateLosses(const Model& model, const TrainBatch& batch, const StepTargets& targets, const ObjectiveOptions& options) {
  const at::NoGradGuard no_grad;
  ObjectiveOptions plain = options;
  plain.recompute = nullptr;
  plain.expert_capacity = 0;
  Forward forward(model, batch, targets, plain);
  forward.Run(/*with_balance=*/false);
  return forward.losses();
}

BalanceKind ParseBalanceKind(const std::string& text, const std::string& what) {
  for (const BalanceKind kind : {BalanceKind::kNone, BalanceKind::kSequence, BalanceKind::kBatch}) {
    if (text == NameOf(kind)) return kind;
  }
  ThrowUserError("{} must be none, sequence or batch, got '{}'", what, text);
}

const char* NameOf(BalanceKind kind) {
  switch (kind) {
    case BalanceKind::kNone: return "none";
    case BalanceKind::kSequence: return "sequence";
    case BalanceKind::kBatch: return "batch";
  }
  return "";
}

}  // namespace fathom
