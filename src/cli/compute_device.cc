#include "cli/compute_device.h"

#include <ATen/Parallel.h>

#include "base/error.h"

namespace fathom {

bool CudaIsUsable(std::string* why) {
  if (why != nullptr) *why = "this build has no CUDA backend";
  return false;
}

void PrepareCompute(const CommonOptions& common) {
  if (common.device.rfind("cuda", 0) == 0) {
    std::string why;
    FATHOM_USER_CHECK(CudaIsUsable(&why), "--device {}: no CUDA device can be used: {}", common.device, why);
  }
  if (common.threads > 0) at::set_num_threads(common.threads);
}

c10::Device ResolveDevice(const CommonOptions& common) {
  if (common.device == "cpu") return c10::Device(c10::kCPU);
  if (common.device == "auto") return CudaIsUsable(nullptr) ? c10::Device(c10::kCUDA, 0) : c10::Device(c10::kCPU);
  return c10::Device(common.device == "cuda" ? "cuda:0" : common.device);
}

}  // namespace fathom
