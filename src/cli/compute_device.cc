#include "cli/compute_device.h"

#include <ATen/Parallel.h>

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "ops/cuda_backend.h"

namespace fathom {
namespace {

// A CUDA device shows itself as a node of the driver (or of WSL): without one the backend is not even looked for.
bool DeviceCouldBeThere() {
  return std::filesystem::exists("/dev/nvidiactl") || std::filesystem::exists("/dev/nvidia0") || std::filesystem::exists("/dev/dxg");
}

}  // namespace

bool CudaIsUsable(std::string* why) {
  std::string cause;
  bool usable = false;
  if (!DeviceCouldBeThere()) {
    cause = "this machine has no NVIDIA device";
  } else {
    usable = ops::LoadCudaBackend(&cause);
  }
  if (why != nullptr) *why = cause;
  return usable;
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
  if (common.device == "auto") {
    std::string why;
    if (CudaIsUsable(&why)) return c10::Device(c10::kCUDA, 0);
    LogInfo("computing on the CPU: {}", why);
    return c10::Device(c10::kCPU);
  }
  const c10::Device device(common.device == "cuda" ? "cuda:0" : common.device);
  const int num_devices = ops::CudaTable()->device_count();
  FATHOM_USER_CHECK(device.index() < num_devices, "--device {}: this machine has {} CUDA devices, counted from 0", common.device, num_devices);
  return device;
}

c10::ScalarType DtypeOfFlag(const std::string& flag) {
  return flag == "fp32" ? c10::ScalarType::Float : flag == "fp16" ? c10::ScalarType::Half : c10::ScalarType::BFloat16;
}

std::string FlagOfDtype(c10::ScalarType dtype) {
  return dtype == c10::ScalarType::BFloat16 ? "bf16" : dtype == c10::ScalarType::Half ? "fp16" : "fp32";
}

CacheFormat CacheFormatOf(const CommonOptions& common) {
  if (common.kv_cache_dtype == "fp8") return CacheFormat::kFp8;
  return common.kv_cache_dtype == "bf16" ? CacheFormat::kBf16 : CacheFormat::kModel;
}

LoadOptions LoadOptionsOf(const CommonOptions& common, bool need_tokenizer) {
  return {.dtype = common.dtype, .device = ResolveDevice(common), .gpu_layers = common.gpu_layers, .cpu_moe = common.cpu_moe,
          .kv_cache = CacheFormatOf(common), .need_tokenizer = need_tokenizer};
}

}  // namespace fathom
