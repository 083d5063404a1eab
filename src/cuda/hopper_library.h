// libfathom_cuda_hopper.so, where it stands beside libfathom_cuda.so.
#pragma once

#include "cuda/hopper_table.h"

namespace fathom::cuda {

// Its table on a device of compute capability 9.0, else null: the caller then takes the portable kernel. Loaded once, never closed; a missing or
// foreign library is one line of the log.
const HopperTable* Hopper();

}  // namespace fathom::cuda
