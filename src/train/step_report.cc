#include "train/step_report.h"

namespace fathom {
namespace {

void AddLoad(const StepMetrics& m, OrderedJson& json) {
  json["utilisation"] = m.utilisation;
  json["worst_utilisation"] = m.worst_utilisation.value;
  json["worst_layer"] = m.worst_utilisation.layer;
  json["max_over_mean"] = m.max_over_mean.value;
  json["max_over_mean_layer"] = m.max_over_mean.layer;
  json["entropy"] = m.entropy.value;
  json["entropy_layer"] = m.entropy.layer;
  json["bias_min"] = m.bias_min;
  json["bias_max"] = m.bias_max;
  json["bias_range_layer"] = m.bias_range.layer;
  json["dropped"] = m.num_dropped;
  json["dropped_layer"] = m.most_dropped.layer;
}

}  // namespace

OrderedJson ToJson(const StepReport& report) {
  const StepMetrics& m = report.metrics;
  OrderedJson json = {{"step", m.step}, {"loss", m.loss}};
  if (!m.mtp_loss.empty()) json["mtp_loss"] = m.mtp_loss.size() == 1 ? OrderedJson(m.mtp_loss[0]) : OrderedJson(m.mtp_loss);
  if (m.balance_loss != 0) json["balance_loss"] = m.balance_loss;
  json["grad_norm"] = m.grad_norm;
  json["lr"] = m.lr;
  json["tokens"] = report.tokens_seen;
  json["tokens_per_s"] = report.tokens_per_s;
  json["tflop_per_s"] = report.tflop_per_s;
  if (report.mfu > 0) json["mfu"] = report.mfu;
  json["memory_gib"] = report.memory_gib;
  if (m.loss_scale != 1) json["loss_scale"] = m.loss_scale;
  if (!m.load.empty()) AddLoad(m, json);
  if (m.skipped) json["skipped"] = true;
  if (report.evaluation) {
    json["eval_loss"] = report.evaluation->loss;
    json["bits_per_byte"] = report.evaluation->bits_per_byte;
    if (report.evaluation->mtp_acceptance) json["mtp_acceptance"] = *report.evaluation->mtp_acceptance;
  }
  return json;
}

std::vector<std::pair<std::string, double>> ToScalars(const StepReport& report) {
  std::vector<std::pair<std::string, double>> scalars;
  const OrderedJson json = ToJson(report);
  for (const auto& [key, value] : json.items()) {
    if (!value.is_number() || key == "step") continue;
    const bool is_of_load = key.starts_with("bias") || key.starts_with("dropped") || key == "utilisation" || key.starts_with("worst") ||
                            key.starts_with("max_over") || key.starts_with("entropy");
    const bool is_held_out = key.starts_with("eval") || key == "bits_per_byte" || key == "mtp_acceptance";
    scalars.emplace_back((is_of_load ? "experts/" : is_held_out ? "held_out/" : "train/") + key, value.get<double>());
  }
  return scalars;
}

}  // namespace fathom
