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
  static const bool kHas = WhyNoWarpgroupProducts(c10::cuda::current_device()).empty();
  return kHas;
}

std::string WhyNoWarpgroupProducts(int device) {
  // For measurements beside the portable kernels, and for their tests.
  if (IsSet("FATHOM_CUDA_PORTABLE")) return "FATHOM_CUDA_PORTABLE is set";
  cudaDeviceProp properties;
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  if (properties.major == 9) return "";
  return std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." + std::to_string(properties.minor) +
         ", they need 9.0: attention, FP8 and grouped products run slower";
}

bool HasAlignedRows(const at::Tensor& x) {
  if (x.element_size() != 2 || !IsAligned16(x) || x.stride(-1) != 1) return false;
  for (int64_t dim = 0; dim + 1 < x.dim(); ++dim) {
    if (x.size(dim) > 1 && x.stride(dim) % 8 != 0) return false;
  }
  return true;
}

}  // namespace fathom::cuda
