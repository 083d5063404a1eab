// The door to libfathom_cuda.so: loads it, and offers its graphs, streams and memory figures without linking CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "ops/version.h"

extern "C" {
// What libfathom_cuda.so offers besides its operators. Functions that can fail return 0 for success; last_error() then says why.
struct FathomCudaTable {
  int32_t version;  // kCudaInterfaceVersion of the library
  int32_t size;     // sizeof(FathomCudaTable)
  const char* (*last_error)();
  int32_t (*device_count)();
  int32_t (*device_name)(int32_t device, char* name, size_t capacity);
  int32_t (*memory_info)(int32_t device, size_t* free_bytes, size_t* total_bytes);
  int32_t (*set_device)(int32_t device);
  int32_t (*synchronize)();  // waits for the current device
  void (*empty_cache)();     // gives the allocator's unused blocks back to the device
  // Graphs. capture_begin moves the calling thread to a stream of its own and records what it launches there until capture_end;
  // capture_abort ends a capture that failed. Memory that the captured work allocated stays with the graph.
  void* (*graph_create)();
  int32_t (*graph_capture_begin)(void* graph);
  int32_t (*graph_capture_end)(void* graph);
  void (*graph_capture_abort)(void* graph);
  int32_t (*graph_replay)(void* graph);
  void (*graph_destroy)(void* graph);
  // Timing by events on the current stream.
  void* (*event_create)();
  int32_t (*event_record)(void* event);
  int32_t (*event_elapsed_ms)(void* start, void* stop, float* ms);  // waits for stop
  void (*event_destroy)(void* event);
  // The most bytes that tensors of the current device held at once.
  int64_t (*peak_bytes)();
  // Why the kernels of Hopper's own instructions are not taken on a device, in one line; null where they are.
  const char* (*portable_reason)(int32_t device);
};
}

namespace fathom::ops {

// Loads libfathom_cuda.so from beside the executable (FATHOM_CUDA_LIB names another file) and keeps it for good. Call it before the first
// LibTorch call: LibTorch remembers that there was no CUDA. False, with one line in `why`, where the driver, a device, or the library is missing
// or of another version. Later calls repeat the first answer.
bool LoadCudaBackend(std::string* why);

// The loaded library's table, null where none is loaded.
const FathomCudaTable* CudaTable();

// A recorded sequence of launches. Everything that `Begin` .. `End` enqueues must be capturable: no host read of device data, no size by data.
class CudaGraph {
 public:
  CudaGraph();  // throws MachineError without a backend
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  // Records the launches of `work` on this thread; throws what work throws, MachineError where a launch cannot be captured.
  template <typename Work>
  void Capture(Work&& work) {
    Begin();
    try {
      work();
    } catch (...) {
      Abort();
      throw;
    }
    End();
  }
  void Replay();  // on the current stream

 private:
  void Begin();
  void End();
  void Abort();
  void* graph_ = nullptr;
};

}  // namespace fathom::ops
