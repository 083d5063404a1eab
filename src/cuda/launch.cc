#include "cuda/launch.h"

namespace fathom::cuda {

int DeviceAttribute(cudaDeviceAttr attribute) {
  int value = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, c10::cuda::current_device()));
  return value;
}

}  // namespace fathom::cuda
