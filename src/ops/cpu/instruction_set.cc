#include "ops/cpu/instruction_set.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace fathom::ops {
namespace {

InstructionSet Detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::kGeneric;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (!avx512) return InstructionSet::kAvx2;
  return __builtin_cpu_supports("avx512bf16") ? InstructionSet::kAvx512Bf16 : InstructionSet::kAvx512;
#else
  return InstructionSet::kGeneric;
#endif
}

InstructionSet Choose() {
  const InstructionSet best = Detect();
  const char* wish = std::getenv("FATHOM_CPU");
  if (wish == nullptr || *wish == '\0') return best;
  for (const auto set : {InstructionSet::kGeneric, InstructionSet::kAvx2, InstructionSet::kAvx512, InstructionSet::kAvx512Bf16}) {
    if (std::string_view(wish) == Name(set)) return std::min(set, best);
  }
  ThrowUserError("FATHOM_CPU must be generic, avx2, avx512 or avx512_bf16, got '{}'", wish);
}

}  // namespace

InstructionSet UsedInstructionSet() {
  static const InstructionSet set = Choose();
  return set;
}

const char* Name(InstructionSet set) {
  switch (set) {
    case InstructionSet::kGeneric: return "generic";
    case InstructionSet::kAvx2: return "avx2";
    case InstructionSet::kAvx512: return "avx512";
    case InstructionSet::kAvx512Bf16: return "avx512_bf16";
  }
  return "unknown";
}

}  // namespace fathom::ops
