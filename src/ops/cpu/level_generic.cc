// The kernels compiled for the least that the target has: any CPU runs them.
#include "ops/cpu/every_kernel.h"
#include "ops/cpu/levels.h"

namespace fathom::ops {

const KernelTable& KernelsGeneric() {
  static constexpr KernelTable table = MakeTable();
  return table;
}

}  // namespace fathom::ops
