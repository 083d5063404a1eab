#include "cuda/launch.h"

#include <cstdlib>

namespace fathom::cuda {

int DeviceAttribute(cudaDeviceAttr attribute) {
  int value = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, c10::cuda::current_device()));
  return value;
}

namespace {

bool IsSet(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

}  // namespace

bool OverlapsLaunches() {
  // The variable is for measurements and for tools that do not know such launches.
  static const bool kOverlaps = !IsSet("FATHOM_CUDA_NO_OVERLAP") && ComputeMajor() >= 9;
  return kOverlaps;
}

bool HasWarpgroupProducts() {
  // The variable is for measurements beside the portable kernels, and for their tests.
  static const bool kHas = !IsSet("FATHOM_CUDA_PORTABLE") && ComputeMajor() == 9;
  return kHas;
}

}  // namespace fathom::cuda
