#include "train/run_outputs.h"

#include <algorithm>

namespace fathom {

RunOutputs::RunOutputs(const std::filesystem::path& dir, int64_t last_step, int64_t num_steps)
    : log_(dir / "log.jsonl", last_step),
      load_(dir / "expert_load.jsonl", last_step),
      samples_(dir / "samples.jsonl", last_step),
      bad_steps_(dir / "bad_steps.jsonl", last_step),
      events_(dir, last_step + 1),
      num_steps_(num_steps),
      load_every_(std::max<int64_t>(1, num_steps / 50)) {}

void RunOutputs::Write(const StepReport& report) {
  log_.Write(ToJson(report));
  events_.Write(report.metrics.step, ToScalars(report));
  WriteLoad(report.metrics);
}

void RunOutputs::WriteLoad(const StepMetrics& metrics) {
  counts_.resize(std::max(counts_.size(), metrics.counts.size()));
  for (size_t layer = 0; layer < metrics.counts.size(); ++layer) {
    counts_[layer].resize(metrics.counts[layer].size());
    for (size_t e = 0; e < counts_[layer].size(); ++e) counts_[layer][e] += metrics.counts[layer][e];
  }
  if (counts_.empty() || (metrics.step % load_every_ != 0 && metrics.step != num_steps_)) return;
  load_.Write({{"step", metrics.step}, {"counts", counts_}});
  counts_.clear();
}

void RunOutputs::WriteBadStep(int64_t step, const Json& data_position) { bad_steps_.Write({{"step", step}, {"data", data_position}}); }

void RunOutputs::WriteSample(int64_t step, const std::string& prompt, const std::string& text) {
  samples_.Write({{"step", step}, {"prompt", prompt}, {"text", text}});
}

}  // namespace fathom
