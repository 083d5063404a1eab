// The version of the interface between the program and libfathom_cuda.so: raised when an operator's schema or the table changes.
#pragma once

namespace fathom::ops {

inline constexpr int kCudaInterfaceVersion = 3;
int CudaInterfaceVersion();

}  // namespace fathom::ops
