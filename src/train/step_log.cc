#include "train/step_log.h"

#include <string>

#include "base/error.h"
#include "train/pretrain.h"

namespace fathom {

StepLog::StepLog(const std::filesystem::path& path, int64_t last_step) : path_(path) {
  uintmax_t kept = 0;
  {
    std::ifstream old(path);
    for (std::string line; last_step > 0 && std::getline(old, line);) {
      const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!json.is_object() || old.eof() || json.value("step", last_step + 1) > last_step) break;
      kept += line.size() + 1;
    }
  }
  std::error_code error;
  if (std::filesystem::exists(path)) std::filesystem::resize_file(path, kept, error);
  file_.open(path, std::ios::app);
  if (error || !file_) ThrowMachineError("cannot write {}", path.string());
}

void StepLog::Write(const StepReport& report) {
  file_ << ToJson(report).dump() << "\n" << std::flush;
  if (!file_) ThrowMachineError("cannot write {}: is the disk full?", path_.string());
}

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
  if (!m.load.empty()) {
    json["utilisation"] = m.utilisation;
    json["worst_utilisation"] = m.worst_utilisation;
    json["worst_layer"] = m.worst_layer;
    json["max_over_mean"] = m.max_over_mean;
    json["entropy"] = m.entropy;
    json["bias_min"] = m.bias_min;
    json["bias_max"] = m.bias_max;
  }
  if (m.skipped) json["skipped"] = true;
  if (report.evaluation) {
    json["eval_loss"] = report.evaluation->loss;
    json["bits_per_byte"] = report.evaluation->bits_per_byte;
  }
  return json;
}

}  // namespace fathom
