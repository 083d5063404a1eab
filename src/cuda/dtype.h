// The number formats of the kernels, as host and device code both see them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace fathom::cuda {

enum class Dtype : int32_t { kF32, kBf16, kF16 };

}  // namespace fathom::cuda
