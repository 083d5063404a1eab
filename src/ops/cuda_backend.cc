#include "ops/cuda_backend.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "base/error.h"
#include "base/log.h"

namespace fathom::ops {
namespace {

struct Backend {
  const FathomCudaTable* table = nullptr;
  std::string why;
};

// Asks the driver alone, so that a machine without a GPU does not pay for loading LibTorch's CUDA half.
std::string DriverProblem() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return "no NVIDIA driver (libcuda.so.1 is not found)";
  const auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDeviceGetCount"));
  if (init == nullptr || count == nullptr) return "the NVIDIA driver (libcuda.so.1) has no cuInit";
  if (const int code = init(0); code != 0) return fmt::format("the NVIDIA driver does not start (cuInit returned {})", code);
  int devices = 0;
  if (count(&devices) != 0 || devices == 0) return "the NVIDIA driver sees no GPU";
  return "";
}

std::string LibraryPath() {
  if (const char* path = std::getenv("FATHOM_CUDA_LIB"); path != nullptr && *path != '\0') return path;
  std::error_code error;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "libfathom_cuda.so";
  return (executable.parent_path() / "libfathom_cuda.so").string();
}

Backend Load() {
  Backend backend;
  backend.why = DriverProblem();
  if (!backend.why.empty()) return backend;
  const std::string path = LibraryPath();
  std::error_code error;
  if (path.find('/') != std::string::npos && !std::filesystem::exists(path, error)) {
    backend.why = fmt::format("{} is not there (it is built where nvcc is found)", path);
    return backend;
  }
  // Global: LibTorch's CUDA half finds its own libraries by symbol. Never closed: registrations cannot be taken back.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    backend.why = fmt::format("{} cannot be loaded: {}", path, dlerror());
    return backend;
  }
  const auto get_table = reinterpret_cast<const FathomCudaTable* (*)()>(dlsym(library, "fathom_cuda_table"));
  const FathomCudaTable* table = get_table == nullptr ? nullptr : get_table();
  if (table == nullptr || table->version != kCudaInterfaceVersion || table->size != static_cast<int32_t>(sizeof(FathomCudaTable))) {
    backend.why = fmt::format("{} is of interface version {}, this program needs {}: build both from the same source", path,
                              table == nullptr ? 0 : table->version, kCudaInterfaceVersion);
    return backend;
  }
  if (table->device_count() == 0) {
    backend.why = fmt::format("no CUDA device: {}", table->last_error());
    return backend;
  }
  backend.table = table;
  if (const char* reason = table->portable_reason(0)) LogWarn("CUDA: portable kernels instead of Hopper's: {}", reason);
  return backend;
}

const Backend& LoadOnce() {
  static const Backend kBackend = Load();
  return kBackend;
}

const Backend* loaded = nullptr;  // set once, by the first LoadCudaBackend
std::once_flag load_flag;

const FathomCudaTable& RequireTable() {
  const FathomCudaTable* table = CudaTable();
  if (table == nullptr) ThrowMachineError("a CUDA graph needs the CUDA backend, which is not loaded");
  return *table;
}

}  // namespace

bool LoadCudaBackend(std::string* why) {
  std::call_once(load_flag, [] { loaded = &LoadOnce(); });
  if (why != nullptr) *why = loaded->why;
  return loaded->table != nullptr;
}

const FathomCudaTable* CudaTable() { return loaded == nullptr ? nullptr : loaded->table; }

CudaGraph::CudaGraph() : graph_(RequireTable().graph_create()) {
  if (graph_ == nullptr) ThrowMachineError("cannot create a CUDA graph: {}", CudaTable()->last_error());
}

CudaGraph::~CudaGraph() { CudaTable()->graph_destroy(graph_); }

void CudaGraph::Begin() {
  if (CudaTable()->graph_capture_begin(graph_) != 0) ThrowMachineError("cannot begin a CUDA graph: {}", CudaTable()->last_error());
}

void CudaGraph::End() {
  if (CudaTable()->graph_capture_end(graph_) != 0) ThrowMachineError("cannot record a CUDA graph: {}", CudaTable()->last_error());
}

void CudaGraph::Abort() { CudaTable()->graph_capture_abort(graph_); }

void CudaGraph::Replay() {
  if (CudaTable()->graph_replay(graph_) != 0) ThrowMachineError("cannot replay a CUDA graph: {}", CudaTable()->last_error());
}

}  // namespace fathom::ops
