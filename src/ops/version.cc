#include "ops/version.h"

namespace fathom::ops {

int CudaInterfaceVersion() { return kCudaInterfaceVersion; }

}  // namespace fathom::ops
