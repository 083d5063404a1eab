// The factor that keeps float16 gradients from underflow (Micikevicius et al., arXiv 1710.03740, 3.2).
#pragma once

#include <algorithm>
#include <cstdint>

namespace fathom {

// The loss is multiplied by scale() before the backward and the gradients are divided by it. Gradients that are not finite halve it (the step is left out);
// kGrowthSteps steps in a row that are finite double it.
class LossScaler {
 public:
  static constexpr double kFirst = 65536, kLeast = 1, kMost = 16777216;
  static constexpr int64_t kGrowthSteps = 500;

  LossScaler() = default;
  explicit LossScaler(bool enabled) : scale_(enabled ? kFirst : 1), enabled_(enabled) {}

  double scale() const { return scale_; }
  bool enabled() const { return enabled_; }
  int64_t good_steps() const { return good_steps_; }
  void Restore(double scale, int64_t good_steps) {
    if (enabled_) scale_ = scale;
    good_steps_ = good_steps;
  }

  void Grow() {
    if (!enabled_ || ++good_steps_ < kGrowthSteps) return;
    good_steps_ = 0;
    scale_ = std::min(kMost, 2 * scale_);
  }
  // False where it cannot fall any more: then the step was bad for another reason.
  bool BackOff() {
    good_steps_ = 0;
    if (!enabled_ || scale_ <= kLeast) return false;
    scale_ = std::max(kLeast, scale_ / 2);
    return true;
  }

 private:
  double scale_ = 1;
  int64_t good_steps_ = 0;
  bool enabled_ = false;
};

}  // namespace fathom
