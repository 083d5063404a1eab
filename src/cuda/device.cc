// The extern "C" table of libfathom_cuda.so (ops/cuda_backend.h): devices, memory, graphs, events.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "cuda/launch.h"
#include "ops/cuda_backend.h"

namespace {

thread_local std::string last_error;

// Runs `work` and turns an exception or a CUDA error code into 1 and a message: no exception crosses the C table.
template <typename Work>
int32_t Guarded(Work&& work) {
  try {
    work();
    return 0;
  } catch (const c10::Error& error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    last_error = error.what();
  }
  return 1;
}

void Check(cudaError_t code) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // else the next launch of anyone would report it
  throw std::runtime_error(cudaGetErrorString(code));
}

int32_t DeviceCount() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess) return count;
  last_error = cudaGetErrorString(code);
  cudaGetLastError();
  return 0;
}

int32_t DeviceName(int32_t device, char* name, size_t capacity) {
  return Guarded([&] {
    cudaDeviceProp properties;
    Check(cudaGetDeviceProperties(&properties, device));
    std::strncpy(name, properties.name, capacity - 1);
    name[capacity - 1] = '\0';
  });
}

int32_t MemoryInfo(int32_t device, size_t* free_bytes, size_t* total_bytes) {
  return Guarded([&] {
    int previous = 0;
    Check(cudaGetDevice(&previous));
    Check(cudaSetDevice(device));
    const cudaError_t code = cudaMemGetInfo(free_bytes, total_bytes);
    Check(cudaSetDevice(previous));
    Check(code);
  });
}

int32_t SetDevice(int32_t device) {
  return Guarded([&] { Check(cudaSetDevice(device)); });
}

int32_t Synchronize() {
  return Guarded([] { Check(cudaDeviceSynchronize()); });
}

void EmptyCache() {
  Guarded([] { c10::cuda::CUDACachingAllocator::emptyCache(); });
}

struct Graph {
  at::cuda::CUDAGraph graph;
  std::optional<c10::cuda::CUDAStream> previous;
};

void* GraphCreate() {
  Graph* graph = nullptr;
  Guarded([&] { graph = new Graph; });
  return graph;
}

void RestoreStream(Graph& graph) {
  if (graph.previous) c10::cuda::setCurrentCUDAStream(*graph.previous);
  graph.previous.reset();
}

int32_t GraphCaptureBegin(void* handle) {
  auto& graph = *static_cast<Graph*>(handle);
  return Guarded([&] {
    Check(cudaDeviceSynchronize());
    graph.previous = c10::cuda::getCurrentCUDAStream();
    c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromPool());
    try {
      graph.graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    } catch (...) {
      RestoreStream(graph);
      throw;
    }
  });
}

int32_t GraphCaptureEnd(void* handle) {
  auto& graph = *static_cast<Graph*>(handle);
  const int32_t code = Guarded([&] { graph.graph.capture_end(); });
  Guarded([&] { RestoreStream(graph); });
  if (code != 0) cudaGetLastError();
  return code;
}

void GraphCaptureAbort(void* handle) {
  const std::string cause = last_error;
  auto& graph = *static_cast<Graph*>(handle);
  Guarded([&] { graph.graph.capture_end(); });
  Guarded([&] { RestoreStream(graph); });
  cudaGetLastError();
  last_error = cause;
}

int32_t GraphReplay(void* handle) {
  return Guarded([&] { static_cast<Graph*>(handle)->graph.replay(); });
}

void GraphDestroy(void* handle) {
  Guarded([&] { delete static_cast<Graph*>(handle); });
}

void* EventCreate() {
  cudaEvent_t event = nullptr;
  Guarded([&] { Check(cudaEventCreate(&event)); });
  return event;
}

int32_t EventRecord(void* event) {
  return Guarded([&] { Check(cudaEventRecord(static_cast<cudaEvent_t>(event), c10::cuda::getCurrentCUDAStream())); });
}

int32_t EventElapsedMs(void* start, void* stop, float* ms) {
  return Guarded([&] {
    Check(cudaEventSynchronize(static_cast<cudaEvent_t>(stop)));
    Check(cudaEventElapsedTime(ms, static_cast<cudaEvent_t>(start), static_cast<cudaEvent_t>(stop)));
  });
}

int64_t PeakBytes() {
  int64_t bytes = 0;
  Guarded([&] {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(c10::cuda::current_device());
    bytes = stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  });
  return bytes;
}

const char* PortableReason(int32_t device) {
  thread_local std::string reason;
  reason.clear();
  Guarded([&] { reason = fathom::cuda::WhyNoWarpgroupProducts(device); });
  return reason.empty() ? nullptr : reason.c_str();
}

void EventDestroy(void* event) { cudaEventDestroy(static_cast<cudaEvent_t>(event)); }

const FathomCudaTable kTable = {
    fathom::ops::kCudaInterfaceVersion,
    sizeof(FathomCudaTable),
    [] { return last_error.c_str(); },
    DeviceCount,
    DeviceName,
    MemoryInfo,
    SetDevice,
    Synchronize,
    EmptyCache,
    GraphCreate,
    GraphCaptureBegin,
    GraphCaptureEnd,
    GraphCaptureAbort,
    GraphReplay,
    GraphDestroy,
    EventCreate,
    EventRecord,
    EventElapsedMs,
    EventDestroy,
    PeakBytes,
    PortableReason,
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const FathomCudaTable* fathom_cuda_table() { return &kTable; }
