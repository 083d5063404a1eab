// The device that the operator tests run on: FATHOM_TEST_DEVICE, "cpu" by default. The same tests check the CUDA kernels.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdlib>
#include <string>

namespace fathom::ops {

inline at::Device TestDevice() {
  const char* name = std::getenv("FATHOM_TEST_DEVICE");
  return at::Device(name != nullptr && *name != '\0' ? std::string(name) : std::string("cpu"));
}

}  // namespace fathom::ops
