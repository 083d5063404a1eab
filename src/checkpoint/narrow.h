// float32 to the formats that weights are computed in.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace fathom {

// Rounds n floats to nearest even into `out` of float32, bfloat16 or float16.
void NarrowFloats(const float* in, int64_t n, void* out, at::ScalarType dtype);

}  // namespace fathom
