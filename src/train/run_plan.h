// What a recipe would take, on paper.
#pragma once

#include <cstdint>
#include <string>

#include "train/recipe.h"

namespace fathom {

struct PlanOptions {
  int64_t num_devices = 1;
  double tflop_per_s = 400;  // that training reaches on one device
  double device_gb = 141;    // memory of one device, 10^9 bytes
};

struct RunPlan {
  int64_t parameters = 0, active_parameters = 0, mtp_parameters = 0;
  double tokens = 0;
  double parameter_flop = 0;  // 6 a token and active parameter, MTP modules included (8 where whole layers are run again)
  double attention_flop = 0;  // 3 H s (q/k width + v width) a token and layer: half of s keys on average, forward and backward
  // Bytes of the state, all devices together: what each holds of activations comes on top.
  double weight_bytes = 0, gradient_bytes = 0, moment_bytes = 0, master_bytes = 0;
  double average_bytes = 0;   // in host memory
  double snapshot_bytes = 0;
  double days = 0;            // at options.tflop_per_s on options.num_devices

  double flop() const { return parameter_flop + attention_flop; }
  double state_bytes() const { return weight_bytes + gradient_bytes + moment_bytes + master_bytes; }
};

RunPlan PlanRun(const Recipe& recipe, const PlanOptions& options);
// Lines for a person.
std::string FormatPlan(const RunPlan& plan, const Recipe& recipe, const PlanOptions& options);

}  // namespace fathom
