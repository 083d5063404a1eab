// One value's step, the same on every device.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define FATHOM_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define FATHOM_HOST_DEVICE inline
#endif

namespace fathom::ops {

// What a step needs besides the values, made once on the host in float64.
struct AdamWScalars {
  float keep = 1;             // 1 - lr * weight_decay
  float beta1 = 0.9f, beta2 = 0.95f;
  float step_size = 0;        // lr / (1 - beta1^step)
  float inverse_root = 1;     // 1 / sqrt(1 - beta2^step)
  float eps = 1e-8f, max_norm = 0;
};

inline AdamWScalars MakeAdamWScalars(double lr, double beta1, double beta2, double eps, double weight_decay, double max_norm, int64_t step) {
  AdamWScalars scalars;
  scalars.keep = static_cast<float>(1 - lr * weight_decay);
  scalars.beta1 = static_cast<float>(beta1);
  scalars.beta2 = static_cast<float>(beta2);
  scalars.step_size = static_cast<float>(lr / (1 - std::pow(beta1, static_cast<double>(step))));
  scalars.inverse_root = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, static_cast<double>(step))));
  scalars.eps = static_cast<float>(eps);
  scalars.max_norm = static_cast<float>(max_norm);
  return scalars;
}

// What gradients are multiplied by; negative: the step is left out.
FATHOM_HOST_DEVICE float ClipScale(float norm, float max_norm) {
  if (!(norm <= 3.402823466e38f)) return -1.0f;  // infinite or not a number
  if (max_norm <= 0.0f || norm <= max_norm) return 1.0f;
  return max_norm / (norm + 1e-6f);
}

FATHOM_HOST_DEVICE float AdamWStep(float w, float g, float& m, float& v, const AdamWScalars& s) {
  m = s.beta1 * m + (1.0f - s.beta1) * g;
  v = s.beta2 * v + (1.0f - s.beta2) * g * g;
  return w * s.keep - s.step_size * m / (sqrtf(v) * s.inverse_root + s.eps);
}

}  // namespace fathom::ops
