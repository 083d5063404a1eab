// Launches that overlap: a kernel's blocks may take their places on the device while the kernel before them still runs (programmatic dependent
// launch, Hopper and later), so that a chain of small kernels does not pay for every start.
#pragma once

#include <cuda_runtime_api.h>

#include <utility>

namespace fathom::cuda {

// First thing in a kernel launched by LaunchKernel, before any read or write of global memory but for PrefetchToL2, on every thread: lets the next
// kernel's blocks come, then waits for the kernel before this one.
__device__ __forceinline__ void LetNextStart() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
__device__ __forceinline__ void WaitForPrevious() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Whether the current device overlaps launches.
bool OverlapsLaunches();

// cluster: blocks of a cluster along x (Hopper); grid.x is a multiple of it.
template <typename... Parameters, typename... Arguments>
void LaunchClusterKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, unsigned cluster, size_t shared_bytes, cudaStream_t stream,
                         Arguments&&... arguments) {
  cudaLaunchAttribute attributes[2];
  unsigned num_attributes = 0;
  if (cluster > 1) {
    attributes[num_attributes].id = cudaLaunchAttributeClusterDimension;
    attributes[num_attributes].val.clusterDim.x = cluster;
    attributes[num_attributes].val.clusterDim.y = 1;
    attributes[num_attributes++].val.clusterDim.z = 1;
  }
  if (OverlapsLaunches()) {
    attributes[num_attributes].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[num_attributes++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = num_attributes;
  // The error, if any, is found by the operator's C10_CUDA_KERNEL_LAUNCH_CHECK.
  (void)cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...);
}

template <typename... Parameters, typename... Arguments>
void LaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, Arguments&&... arguments) {
  LaunchClusterKernel(kernel, grid, block, 1, shared_bytes, stream, std::forward<Arguments>(arguments)...);
}

}  // namespace fathom::cuda
