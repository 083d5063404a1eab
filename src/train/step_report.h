// What a run says of a step: a line of its log, of the terminal, and points of its curves.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "train/evaluation.h"
#include "train/trainer.h"

namespace fathom {

struct StepReport {
  StepMetrics metrics;
  std::optional<EvaluationMetrics> evaluation;
  double tokens_per_s = 0;      // of the step alone, without evaluation
  double tflop_per_s = 0;       // 6 a token and active parameter
  double mfu = 0;               // tflop_per_s over what the device's products were measured at; 0: not measured
  double memory_gib = 0;        // the most that the device's tensors, or on the CPU the process, held at once
  int64_t tokens_seen = 0;      // since the first step
  double seconds_left = 0;      // at the speed of the last steps
};

// A line of log.jsonl.
OrderedJson ToJson(const StepReport& report);
// The same numbers as (tag, value) for TensorBoard.
std::vector<std::pair<std::string, double>> ToScalars(const StepReport& report);

}  // namespace fathom
