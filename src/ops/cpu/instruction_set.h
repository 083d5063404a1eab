// Which vector instructions the kernels of this process use, chosen once at run time.
#pragma once

namespace fathom::ops {

// Each level has everything of the ones before it. kAvx2: AVX2, FMA, F16C. kAvx512: F, BW, DQ, VL. kAvx512Bf16: VDPBF16PS too.
enum class InstructionSet { kGeneric, kAvx2, kAvx512, kAvx512Bf16 };

// The best level of this CPU; the environment variable FATHOM_CPU (generic, avx2, avx512, avx512_bf16) asks for a lower one.
// Throws UserError for another value.
InstructionSet UsedInstructionSet();
const char* Name(InstructionSet set);

}  // namespace fathom::ops
