// Descriptions of tensors for Hopper's bulk copies (tma.cuh), made on the host.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/dtype.h"

namespace fathom::cuda {

// Four dimensions of 16-bit values, innermost (contiguous) first. strides in values, of dimensions 1 to 3; those of dimensions of size 1 are free.
struct TileSource {
  const void* base = nullptr;
  Dtype dtype = Dtype::kBf16;
  int64_t sizes[4] = {1, 1, 1, 1};
  int64_t strides[3] = {0, 0, 0};
  uint32_t box[4] = {64, 1, 1, 1};  // box[0] is 64: rows of 128 bytes, written with the 128-byte swizzle
};

// False where the device, its driver or the strides (multiples of 8 values, base a multiple of 16 bytes) do not allow one.
bool MakeTensorMap(const TileSource& source, CUtensorMap* map);

}  // namespace fathom::cuda
