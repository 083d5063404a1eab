#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace fathom {
namespace {

double Cosine(double from, double to, double progress) {
  return to + (from - to) * 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0)));
}

double V3At(const Schedule& schedule, double progress) {
  const double middle = schedule.middle > 0 ? schedule.middle : schedule.peak / 10;
  if (progress < schedule.constant_fraction) return schedule.peak;
  progress -= schedule.constant_fraction;
  if (progress < schedule.cosine_fraction) return Cosine(schedule.peak, middle, progress / schedule.cosine_fraction);
  progress -= schedule.cosine_fraction;
  return progress < schedule.middle_fraction ? middle : schedule.final;
}

}  // namespace

double Schedule::At(int64_t step) const {
  if (step <= warmup_steps) return peak * static_cast<double>(step) / static_cast<double>(warmup_steps);
  const double total = static_cast<double>(total_steps), at = static_cast<double>(step);
  switch (kind) {
    case ScheduleKind::kConstant: return peak;
    case ScheduleKind::kCosine: {
      const double span = total - static_cast<double>(warmup_steps);
      return span <= 0 ? peak : Cosine(peak, final, (at - static_cast<double>(warmup_steps)) / span);
    }
    case ScheduleKind::kWsd: {
      const double decay = total * decay_fraction, into = at - (total - decay);
      if (decay <= 0 || into <= 0) return peak;
      return final + (peak - final) * (1 - std::sqrt(std::min(1.0, into / decay)));
    }
    case ScheduleKind::kV3: return V3At(*this, (at - 1) / total);
  }
  FATHOM_CHECK(false, "schedule {}", static_cast<int>(kind));
}

ScheduleKind ParseScheduleKind(const std::string& text, const std::string& what) {
  for (const ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kCosine, ScheduleKind::kWsd, ScheduleKind::kV3}) {
    if (text == NameOf(kind)) return kind;
  }
  ThrowUserError("{} must be constant, cosine, wsd or v3, got '{}'", what, text);
}

const char* NameOf(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::kConstant: return "constant";
    case ScheduleKind::kCosine: return "cosine";
    case ScheduleKind::kWsd: return "wsd";
    case ScheduleKind::kV3: return "v3";
  }
  return "";
}

}  // namespace fathom
