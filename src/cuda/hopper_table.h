// What libfathom_cuda_hopper.so offers: kernels for compute capability 9.0 that stand on CUTLASS's and FlashInfer's templates. A function is null
// where the library was built without it. Each takes the same parameter struct as the portable kernel beside which it stands.
#pragma once

#include <cstdint>

namespace fathom::cuda {

inline constexpr int32_t kHopperInterfaceVersion = 1;

struct HopperTable {
  int32_t version;  // kHopperInterfaceVersion
  int32_t size;     // sizeof(HopperTable): libraries of different sources do not meet
};

}  // namespace fathom::cuda

// The library's only symbol.
extern "C" const fathom::cuda::HopperTable* fathom_cuda_hopper_table();
