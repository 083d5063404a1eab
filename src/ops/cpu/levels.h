// The table of each level_*.cc.
#pragma once

#include "ops/cpu/kernel_table.h"

namespace fathom::ops {

const KernelTable& KernelsGeneric();
const KernelTable& KernelsAvx2();
const KernelTable& KernelsAvx512();
const KernelTable& KernelsAvx512Bf16();

}  // namespace fathom::ops
