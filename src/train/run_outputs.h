// The files that a run writes as it goes, besides its snapshots.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "train/event_file.h"
#include "train/json_lines.h"
#include "train/step_report.h"

namespace fathom {

class RunOutputs {
 public:
  // Of a run in `dir` that goes on behind `last_step`; what the files say about later steps is dropped. `num_steps` of the whole run.
  RunOutputs(const std::filesystem::path& dir, int64_t last_step, int64_t num_steps);
  // log.jsonl, TensorBoard's events, and every fiftieth of the run the experts' loads since the last time. Throws MachineError.
  void Write(const StepReport& report);
  void WriteBadStep(int64_t step, const Json& data_position);
  void WriteSample(int64_t step, const std::string& prompt, const std::string& text);

 private:
  void WriteLoad(const StepMetrics& metrics);

  JsonLines log_, load_, samples_, bad_steps_;
  EventFile events_;
  int64_t num_steps_, load_every_;
  std::vector<std::vector<int64_t>> counts_;  // of each mixture, since load_ was written
};

}  // namespace fathom
