#include "train/run_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/weight_table.h"

namespace fathom {
namespace {

double NumValues(const WeightSpec& spec) {
  double count = 1;
  for (const int64_t size : spec.shape) count *= static_cast<double>(size);
  return count;
}

std::string Bytes(double bytes) {
  if (bytes >= 1e12) return fmt::format("{:.2f} TB", bytes / 1e12);
  if (bytes >= 1e9) return fmt::format("{:.2f} GB", bytes / 1e9);
  return fmt::format("{:.1f} MB", bytes / 1e6);
}

std::string Count(double count) {
  if (count >= 1e12) return fmt::format("{:.2f}T", count / 1e12);
  if (count >= 1e9) return fmt::format("{:.2f}B", count / 1e9);
  return fmt::format("{:.2f}M", count / 1e6);
}

}  // namespace

RunPlan PlanRun(const Recipe& recipe, const PlanOptions& options) {
  const ModelConfig& config = recipe.model;
  const OptimizerOptions& optimizer = recipe.trainer.optimizer;
  const double weight = static_cast<double>(c10::elementSize(recipe.dtype)), moment = static_cast<double>(c10::elementSize(optimizer.moments));
  const bool accumulates = recipe.microbatch_size > 0 && recipe.microbatch_size < recipe.batch_size;
  const double gradient = accumulates || recipe.dtype == at::kHalf ? 4 : weight;
  const bool masters = optimizer.masters && recipe.dtype != at::kFloat;
  RunPlan plan;
  const ParameterCount count = CountParameters(config);
  plan.parameters = count.total;
  plan.active_parameters = count.active;
  plan.mtp_parameters = count.mtp;
  double mtp_active = 0;
  for (const WeightSpec& spec : ListWeights(config)) {
    if (!spec.tied_to.empty()) continue;
    const double values = NumValues(spec), share = spec.is_routed_expert ? static_cast<double>(config.num_experts_per_tok) / static_cast<double>(config.n_routed_experts) : 1;
    if (spec.is_mtp) mtp_active += values * share;
    if (spec.kind == WeightKind::kRouterBias) continue;
    const bool by_muon = optimizer.kind == OptimizerKind::kMuon && spec.kind == WeightKind::kLinear;
    plan.weight_bytes += values * weight;
    plan.gradient_bytes += values * gradient;
    plan.moment_bytes += values * moment * (by_muon ? 1 : 2);
    if (masters) plan.master_bytes += values * 4;
    if (recipe.trainer.average_decay > 0) plan.average_bytes += values * 4;
  }
  plan.snapshot_bytes = plan.weight_bytes + plan.moment_bytes + plan.master_bytes + plan.average_bytes;
  plan.tokens = recipe.num_tokens();
  const bool runs_again = std::find(recipe.trainer.recompute.layers.begin(), recipe.trainer.recompute.layers.end(), true) != recipe.trainer.recompute.layers.end();
  const double mtp = recipe.trainer.objective.mtp_weight > 0 ? mtp_active : 0;
  plan.parameter_flop = (runs_again ? 8 : 6) * (static_cast<double>(count.active) + mtp) * plan.tokens;
  const double width = config.has_mla() ? static_cast<double>(config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim) : 2 * static_cast<double>(config.head_dim);
  const double num_layers = static_cast<double>(config.num_hidden_layers + (mtp > 0 ? config.num_nextn_predict_layers : 0));
  plan.attention_flop = 3 * static_cast<double>(config.num_attention_heads) * static_cast<double>(recipe.sequence_length) * width * num_layers * plan.tokens;
  plan.days = plan.flop() / (options.tflop_per_s * 1e12 * static_cast<double>(options.num_devices)) / 86400;
  return plan;
}

std::string FormatPlan(const RunPlan& plan, const Recipe& recipe, const PlanOptions& options) {
  std::string text = fmt::format("parameters  {}, {} active a token, {} in MTP modules\n", Count(static_cast<double>(plan.parameters)),
                                 Count(static_cast<double>(plan.active_parameters)), Count(static_cast<double>(plan.mtp_parameters)));
  text += fmt::format("data        {} tokens: {} steps of {} x {}", Count(plan.tokens), recipe.steps, recipe.batch_size, recipe.sequence_length);
  if (recipe.RowsAt(1) != recipe.batch_size) text += fmt::format(", from {} rows over the first {} steps", recipe.RowsAt(1), recipe.batch_ramp_steps);
  text += fmt::format("\ncomputation {:.3e} FLOP: {:.3e} of parameters, {:.3e} of attention\n", plan.flop(), plan.parameter_flop, plan.attention_flop);
  text += fmt::format("memory      {} of state: weights {}, gradients {}, moments {}, masters {}; activations on top\n", Bytes(plan.state_bytes()), Bytes(plan.weight_bytes),
                      Bytes(plan.gradient_bytes), Bytes(plan.moment_bytes), Bytes(plan.master_bytes));
  if (plan.average_bytes > 0) text += fmt::format("            {} in host memory for the average of the weights\n", Bytes(plan.average_bytes));
  text += fmt::format("            at least {:.0f} devices of {:.0f} GB for the state alone; {} a checkpoint\n", std::ceil(plan.state_bytes() / (options.device_gb * 1e9)), options.device_gb,
                      Bytes(plan.snapshot_bytes));
  const std::string time = plan.days >= 1 ? fmt::format("{:.1f} days", plan.days) : fmt::format("{:.1f} hours", 24 * plan.days);
  text += fmt::format("time        {} on {} devices at {:.0f} TFLOP/s each ({:.3e} device hours)\n", time, options.num_devices, options.tflop_per_s,
                      24 * plan.days * static_cast<double>(options.num_devices));
  return text;
}

}  // namespace fathom
