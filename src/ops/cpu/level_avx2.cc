// The kernels compiled for AVX2 instructions (flags in CMakeLists.txt).
#if defined(__x86_64__)
#include "ops/cpu/every_kernel.h"
#include "ops/cpu/levels.h"

namespace fathom::ops {

const KernelTable& KernelsAvx2() {
  static constexpr KernelTable table = MakeTable();
  return table;
}

}  // namespace fathom::ops
#endif
