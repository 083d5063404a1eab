#include "cuda/hopper_library.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <filesystem>

#include "base/log.h"

namespace fathom::cuda {
namespace {

const HopperTable* Load() {
  int device = 0, major = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  if (major != 9) {
    LogInfo("the device is not Hopper: portable kernels");
    return nullptr;
  }
  Dl_info self;
  if (dladdr(reinterpret_cast<const void*>(&Load), &self) == 0) return nullptr;
  const auto path = std::filesystem::path(self.dli_fname).parent_path() / "libfathom_cuda_hopper.so";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    LogInfo("{} is not there (`ninja fathom_cuda_hopper` builds it): portable kernels", path.string());
    return nullptr;
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    LogWarn("{} cannot be loaded, portable kernels instead: {}", path.string(), dlerror());
    return nullptr;
  }
  const auto get_table = reinterpret_cast<const HopperTable* (*)()>(dlsym(library, "fathom_cuda_hopper_table"));
  const HopperTable* table = get_table == nullptr ? nullptr : get_table();
  if (table == nullptr || table->version != kHopperInterfaceVersion || table->size != static_cast<int32_t>(sizeof(HopperTable))) {
    LogWarn("{} was built from another source, portable kernels instead", path.string());
    return nullptr;
  }
  return table;
}

}  // namespace

const HopperTable* Hopper() {
  static const HopperTable* const kTable = Load();
  return kTable;
}

}  // namespace fathom::cuda
