#include "cuda/hopper_table.h"

extern "C" __attribute__((visibility("default"))) const fathom::cuda::HopperTable* fathom_cuda_hopper_table() {
  static const fathom::cuda::HopperTable kTable = {
      .version = fathom::cuda::kHopperInterfaceVersion,
      .size = static_cast<int32_t>(sizeof(fathom::cuda::HopperTable)),
  };
  return &kTable;
}
