#include "train/trainer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "ops/adamw/adamw.h"

namespace fathom {
namespace {

// Gradients of microbatches in 16 bits are summed in float32.
void MoveGradients(const std::vector<std::pair<std::string, at::Tensor>>& leaves, std::vector<at::Tensor>& sums) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < leaves.size(); ++i) {
    at::Tensor leaf = leaves[i].second;
    if (!leaf.grad().defined()) continue;
    if (sums[i].defined()) sums[i].add_(leaf.grad());
    else sums[i] = leaf.grad().to(at::kFloat);
    leaf.mutable_grad().reset();
  }
}

// Sums over the microbatches of each mixture's counts.
std::vector<at::Tensor> SumCounts(const std::vector<Losses>& losses) {
  std::vector<at::Tensor> sums = losses[0].counts_E;
  for (size_t i = 1; i < losses.size(); ++i) {
    for (size_t layer = 0; layer < sums.size(); ++layer) {
      if (sums[layer].defined()) sums[layer] = sums[layer].add(losses[i].counts_E[layer]);
    }
  }
  return sums;
}

at::Tensor SumOf(const std::vector<Losses>& losses, const std::function<at::Tensor(const Losses&)>& which) {
  at::Tensor sum = which(losses[0]);
  for (size_t i = 1; i < losses.size(); ++i) sum = sum.add(which(losses[i]));
  return sum;
}

void Summarise(StepMetrics& metrics) {
  if (metrics.load.empty()) return;
  metrics.utilisation = 0;
  metrics.worst_utilisation = 2;
  for (size_t layer = 0; layer < metrics.load.size(); ++layer) {
    const ExpertLoad& load = metrics.load[layer];
    metrics.utilisation += load.utilisation / static_cast<double>(metrics.load.size());
    metrics.max_over_mean = std::max(metrics.max_over_mean, load.max_over_mean);
    metrics.entropy = std::min(metrics.entropy, load.entropy);
    if (load.utilisation >= metrics.worst_utilisation) continue;
    metrics.worst_utilisation = load.utilisation;
    metrics.worst_layer = static_cast<int64_t>(layer);
  }
}

}  // namespace

Trainer::Trainer(Model& model, const TrainerOptions& options)
    : model_(model),
      options_(options),
      optimizer_(model.TrainableLeaves(), options.optimizer),
      balance_(model, options.balance_gamma, options.balance_freeze_step) {
  model_.RequireGrad(true);
  const RecomputePlan& plan = options_.recompute;
  const bool recomputes = plan.swiglu || std::find(plan.layers.begin(), plan.layers.end(), true) != plan.layers.end();
  options_.objective.recompute = recomputes ? &options_.recompute : nullptr;
}

void Trainer::SetCounters(const Counters& counters) {
  step_ = counters.step;
  updates_ = counters.updates;
  bad_steps_ = counters.bad_steps;
}

StepMetrics Trainer::Step(const std::vector<TrainBatch>& microbatches) {
  FATHOM_CHECK(!microbatches.empty(), "a step without a batch");
  ++step_;
  if (options_.mtp_weight) options_.objective.mtp_weight = options_.mtp_weight(step_);
  if (options_.router_temperature) options_.objective.router_temperature = options_.router_temperature(step_);
  const StepTargets targets = CountTargets(microbatches);
  const auto& leaves = optimizer_.leaves();
  std::vector<Losses> losses;
  std::vector<at::Tensor> gradients(leaves.size());
  int64_t num_tokens = 0;
  for (const TrainBatch& batch : microbatches) {
    losses.push_back(AddGradients(model_, batch, targets, options_.objective));
    num_tokens += batch.num_tokens();
    if (microbatches.size() > 1) MoveGradients(leaves, gradients);
  }
  const at::NoGradGuard no_grad;
  if (microbatches.size() == 1) gradients = TakeGradients();
  std::vector<at::Tensor> present;
  for (at::Tensor& gradient : gradients) {
    if (!gradient.defined()) continue;
    gradient = gradient.contiguous();
    present.push_back(gradient);
  }
  const double lr = options_.schedule.At(step_);
  at::Tensor norm = ops::gradient_norm(present);
  // A loss that is not finite makes the norm so too, and the optimizer then writes nothing.
  norm.add_(SumOf(losses, [](const Losses& loss) { return loss.next_token; }).mul(0));
  optimizer_.Step(gradients, norm, lr, updates_ + 1);
  StepMetrics metrics = ReadMetrics(losses, norm, num_tokens, lr);
  if (metrics.skipped) {
    ++bad_steps_;
    LogWarn("step {}: the loss ({}) or the norm of the gradients ({}) is not finite; the step is skipped", step_, metrics.loss, metrics.grad_norm);
    if (bad_steps_ >= options_.most_bad_steps) ThrowMachineError("{} steps in a row were not finite; the last is step {}", bad_steps_, step_);
    return metrics;
  }
  bad_steps_ = 0;
  ++updates_;
  balance_.Update(SumCounts(losses), step_);
  return metrics;
}

std::vector<at::Tensor> Trainer::TakeGradients() {
  std::vector<at::Tensor> gradients;
  for (const auto& [name, leaf] : optimizer_.leaves()) {
    gradients.push_back(leaf.grad());
    at::Tensor owner = leaf;
    owner.mutable_grad().reset();
  }
  return gradients;
}

StepMetrics Trainer::ReadMetrics(const std::vector<Losses>& losses, const at::Tensor& norm, int64_t num_tokens, double lr) const {
  // One transfer of all numbers as float64: the losses, the biases, the counts.
  std::vector<at::Tensor> parts = {norm.reshape({1}), SumOf(losses, [](const Losses& loss) { return loss.next_token; }).reshape({1})};
  const size_t num_depths = losses[0].mtp.size();
  for (size_t depth = 0; depth < num_depths; ++depth) parts.push_back(SumOf(losses, [&](const Losses& loss) { return loss.mtp[depth]; }).reshape({1}));
  const bool has_balance = losses[0].balance.defined();
  if (has_balance) parts.push_back(SumOf(losses, [](const Losses& loss) { return loss.balance; }).reshape({1}).div(static_cast<double>(losses.size())));
  const std::vector<at::Tensor> counts = SumCounts(losses);
  std::vector<at::Tensor> present;
  for (const at::Tensor& counts_E : counts) {
    if (counts_E.defined()) present.push_back(counts_E);
  }
  for (const at::Tensor& bias_E : balance_.biases()) parts.push_back(bias_E);
  at::Tensor all = at::cat(parts).to(at::kDouble);
  if (!present.empty()) all = at::cat({all, at::cat(present).to(at::kDouble)});
  const at::Tensor host = all.to(at::kCPU);
  const double* value = host.const_data_ptr<double>();

  StepMetrics metrics;
  metrics.step = step_;
  metrics.lr = lr;
  metrics.num_tokens = num_tokens;
  metrics.grad_norm = *value++;
  metrics.loss = *value++;
  for (size_t depth = 0; depth < num_depths; ++depth) metrics.mtp_loss.push_back(*value++);
  if (has_balance) metrics.balance_loss = *value++;
  metrics.skipped = !std::isfinite(metrics.grad_norm) || !std::isfinite(metrics.loss);
  if (!balance_.biases().empty()) {
    int64_t num_biases = 0;
    for (const at::Tensor& bias_E : balance_.biases()) num_biases += bias_E.numel();
    metrics.bias_min = *std::min_element(value, value + num_biases);
    metrics.bias_max = *std::max_element(value, value + num_biases);
    value += num_biases;
  }
  for (const at::Tensor& counts_E : present) {
    metrics.load.push_back(LoadOf(std::vector<int64_t>(value, value + counts_E.numel())));
    value += counts_E.numel();
  }
  Summarise(metrics);
  return metrics;
}

}  // namespace fathom
