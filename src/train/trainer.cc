#include "train/trainer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>
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

// Sums over the microbatches of what each mixture has.
std::vector<at::Tensor> SumOfMixtures(const std::vector<Losses>& losses, std::vector<at::Tensor> Losses::*what) {
  std::vector<at::Tensor> sums = losses[0].*what;
  for (size_t i = 1; i < losses.size(); ++i) {
    for (size_t layer = 0; layer < sums.size(); ++layer) {
      if (sums[layer].defined()) sums[layer] = sums[layer].add((losses[i].*what)[layer]);
    }
  }
  return sums;
}

at::Tensor SumOf(const std::vector<Losses>& losses, const std::function<at::Tensor(const Losses&)>& which) {
  at::Tensor sum = which(losses[0]);
  for (size_t i = 1; i < losses.size(); ++i) sum = sum.add(which(losses[i]));
  return sum;
}

void Keep(StepMetrics::Worst& worst, double value, size_t layer, bool larger_is_worse) {
  if (worst.layer >= 0 && (larger_is_worse ? value <= worst.value : value >= worst.value)) return;
  worst = {value, static_cast<int64_t>(layer)};
}

void Summarise(StepMetrics& metrics) {
  if (metrics.load.empty()) return;
  metrics.utilisation = 0;
  for (size_t layer = 0; layer < metrics.load.size(); ++layer) {
    const ExpertLoad& load = metrics.load[layer];
    metrics.utilisation += load.utilisation / static_cast<double>(metrics.load.size());
    Keep(metrics.worst_utilisation, load.utilisation, layer, false);
    Keep(metrics.max_over_mean, load.max_over_mean, layer, true);
    Keep(metrics.entropy, load.entropy, layer, false);
  }
}

}  // namespace

Trainer::Trainer(Model& model, const TrainerOptions& options)
    : model_(model),
      options_(options),
      optimizer_(model, options.optimizer),
      balance_(model, options.balance_gamma, options.balance_freeze_step),
      scaler_(model.options().dtype == at::kHalf) {
  model_.RequireGrad(true);
  const RecomputePlan& plan = options_.recompute;
  const bool recomputes = plan.swiglu || std::find(plan.layers.begin(), plan.layers.end(), true) != plan.layers.end();
  options_.objective.recompute = recomputes ? &options_.recompute : nullptr;
  if (options_.average_decay > 0) {
    average_ = std::make_unique<WeightAverage>(optimizer_, std::pow(options_.average_decay, static_cast<double>(options_.average_every)));
  }
}

void Trainer::SetCounters(const Counters& counters) {
  step_ = counters.step;
  updates_ = counters.updates;
  bad_steps_ = counters.bad_steps;
  scaler_.Restore(counters.loss_scale, counters.scale_good_steps);
}

StepMetrics Trainer::Step(const std::vector<TrainBatch>& microbatches) {
  FATHOM_CHECK(!microbatches.empty(), "a step without a batch");
  ++step_;
  if (options_.mtp_weight) options_.objective.mtp_weight = options_.mtp_weight(step_);
  if (options_.router_temperature) options_.objective.router_temperature = options_.router_temperature(step_);
  options_.objective.loss_scale = scaler_.scale();
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
  Prepare(gradients);
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
    OnBadStep(metrics);
    return metrics;
  }
  bad_steps_ = 0;
  ++updates_;
  scaler_.Grow();
  balance_.Update(SumOfMixtures(losses, &Losses::counts_E), step_);
  if (average_ != nullptr && step_ % options_.average_every == 0) average_->Update(optimizer_);
  return metrics;
}

void Trainer::OnBadStep(const StepMetrics& metrics) {
  if (std::isfinite(metrics.loss) && scaler_.BackOff()) {
    LogInfo("step {}: float16 gradients overflowed at the loss scale {}; the step is skipped", step_, metrics.loss_scale);
    return;
  }
  ++bad_steps_;
  LogWarn("step {}: the loss ({}) or the norm of the gradients ({}) is not finite; the step is skipped", step_, metrics.loss, metrics.grad_norm);
  if (bad_steps_ >= options_.most_bad_steps) ThrowMachineError("{} steps in a row were not finite; the last is step {}", bad_steps_, step_);
}

void Trainer::Prepare(std::vector<at::Tensor>& gradients) const {
  for (at::Tensor& gradient : gradients) {
    if (!gradient.defined()) continue;
    if (scaler_.enabled()) gradient = gradient.to(at::kFloat).mul_(1 / scaler_.scale());
    if (!options_.even_expert_gradients || gradient.dim() != 3) continue;
    const at::Tensor norm_E = at::linalg_vector_norm(gradient, 2, at::IntArrayRef{1, 2}, /*keepdim=*/true, at::kFloat);
    const at::Tensor used_E = norm_E.gt(0).to(at::kFloat);
    const at::Tensor mean = norm_E.sum().div(used_E.sum().clamp_min(1));
    gradient = gradient.mul(mean.div(norm_E.add(1e-30)).clamp(1 / kMostExpertFactor, kMostExpertFactor).to(gradient.scalar_type()));
  }
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
  std::vector<at::Tensor> present, dropped;
  for (const at::Tensor& counts_E : SumOfMixtures(losses, &Losses::counts_E)) {
    if (counts_E.defined()) present.push_back(counts_E);
  }
  for (const at::Tensor& count : SumOfMixtures(losses, &Losses::dropped)) {
    if (count.defined()) dropped.push_back(count.reshape({1}));
  }
  for (const at::Tensor& bias_E : balance_.biases()) parts.push_back(bias_E);
  at::Tensor all = at::cat(parts).to(at::kDouble);
  if (!present.empty()) all = at::cat({all, at::cat(present).to(at::kDouble)});
  if (!dropped.empty()) all = at::cat({all, at::cat(dropped).to(at::kDouble)});
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
  metrics.loss_scale = scaler_.scale();
  for (size_t layer = 0; layer < balance_.biases().size(); ++layer) {
    const int64_t num_experts = balance_.biases()[layer].numel();
    const auto [least, most] = std::minmax_element(value, value + num_experts);
    metrics.bias_min = layer == 0 ? *least : std::min(metrics.bias_min, *least);
    metrics.bias_max = layer == 0 ? *most : std::max(metrics.bias_max, *most);
    Keep(metrics.bias_range, *most - *least, layer, true);
    value += num_experts;
  }
  for (const at::Tensor& counts_E : present) {
    metrics.counts.emplace_back(value, value + counts_E.numel());
    metrics.load.push_back(LoadOf(metrics.counts.back()));
    value += counts_E.numel();
  }
  for (size_t layer = 0; layer < dropped.size(); ++layer, ++value) {
    metrics.num_dropped += static_cast<int64_t>(*value);
    const double num_choices = static_cast<double>(std::accumulate(metrics.counts[layer].begin(), metrics.counts[layer].end(), int64_t{0}));
    Keep(metrics.most_dropped, num_choices > 0 ? *value / num_choices : 0, layer, true);
  }
  Summarise(metrics);
  return metrics;
}

}  // namespace fathom
