// The learning rate of each step.
#pragma once

#include <cstdint>
#include <string>

namespace fathom {

enum class ScheduleKind {
  kConstant,
  kCosine,  // from peak to final over the steps after the warm-up
  kWsd,     // warm-up, stable, decay (MiniCPM, arXiv 2404.06395): constant, then down to final over the last decay_fraction of the steps, along 1 - sqrt(x)
  kV3,      // DeepSeek-V3 (arXiv 2412.19437, 4.2): constant, cosine down to middle, constant at middle, then constant at final
};

struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;
  double peak = 3e-4;
  double final = 0;            // kCosine, kWsd, kV3
  int64_t warmup_steps = 0;    // linear from 0: step s of them has peak * s / warmup_steps
  int64_t total_steps = 1;
  double decay_fraction = 0.1;  // kWsd
  // kV3, as shares of the total: 10T, 4.3T, 333B and 167B of 14.8T tokens; middle is a tenth of the peak.
  double constant_fraction = 10.0 / 14.8, cosine_fraction = 4.3 / 14.8, middle_fraction = 0.333 / 14.8;
  double middle = 0;           // 0: peak / 10

  // step counts from 1.
  double At(int64_t step) const;
};

// "constant", "cosine", "wsd" or "v3". Throws UserError; `what` names the setting.
ScheduleKind ParseScheduleKind(const std::string& text, const std::string& what);
const char* NameOf(ScheduleKind kind);

}  // namespace fathom
