// What every operator's .cc needs to launch a kernel: the dtype of a tensor, the current stream, the device's size.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <string>

#include "cuda/dtype.h"

namespace fathom::cuda {

inline Dtype DtypeOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return Dtype::kF32;
    case at::kBFloat16:
      return Dtype::kBf16;
    case at::kHalf:
      return Dtype::kF16;
    default:
      TORCH_CHECK(false, "dtype must be float32, bfloat16 or float16 on CUDA, got ", tensor.scalar_type());
  }
}

// Whether the first value lies where 16-byte loads may begin.
inline bool IsAligned16(const at::Tensor& x) { return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0; }
// A tensor of 16-bit values, contiguous in its last dimension, whose rows (every other dimension) all begin at multiples of 16 bytes.
bool HasAlignedRows(const at::Tensor& x);

inline cudaStream_t CurrentStream() { return c10::cuda::getCurrentCUDAStream().stream(); }

// Of the current device.
int DeviceAttribute(cudaDeviceAttr attribute);
inline int NumProcessors() { return DeviceAttribute(cudaDevAttrMultiProcessorCount); }
bool OverlapsLaunches();
// Whether kernels of Hopper's own instructions (wgmma, bulk copies of tiles) run there: compute capability 9.0.
bool HasWarpgroupProducts();
// Why they do not run on a device, in one line; empty where they do. FATHOM_CUDA_PORTABLE says so for every device.
std::string WhyNoWarpgroupProducts(int device);
inline int ComputeMajor() { return DeviceAttribute(cudaDevAttrComputeCapabilityMajor); }

}  // namespace fathom::cuda
