#include "ops/cpu/kernel_table.h"

#include "ops/cpu/instruction_set.h"
#include "ops/cpu/levels.h"

namespace fathom::ops {

const KernelTable& Kernels() {
  static const KernelTable& table = []() -> const KernelTable& {
#if defined(__x86_64__)
    switch (UsedInstructionSet()) {
      case InstructionSet::kAvx512Bf16: return KernelsAvx512Bf16();
      case InstructionSet::kAvx512: return KernelsAvx512();
      case InstructionSet::kAvx2: return KernelsAvx2();
      case InstructionSet::kGeneric: break;
    }
#endif
    return KernelsGeneric();
  }();
  return table;
}

}  // namespace fathom::ops
