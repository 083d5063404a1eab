#include "cuda/launch.h"

#include <cstdlib>

namespace fathom::cuda {

int DeviceAttribute(cudaDeviceAttr attribute) {
  int value = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, c10::cuda::current_device()));
  return value;
}

bool OverlapsLaunches() {
  static const bool kOverlaps = [] {
    const char* off = std::getenv("FATHOM_CUDA_NO_OVERLAP");  // for measurements and for tools that do not know such launches
    return (off == nullptr || *off == '\0') && ComputeMajor() >= 9;
  }();
  return kOverlaps;
}

}  // namespace fathom::cuda
