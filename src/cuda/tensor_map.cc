#include "cuda/tensor_map.h"

#include <cuda_runtime_api.h>

namespace fathom::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function without linking the driver's library: this library loads on machines that have none.
Encode FindEncode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result) != cudaSuccess ||
      result != cudaDriverEntryPointSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  return reinterpret_cast<Encode>(function);
}

}  // namespace

bool MakeTensorMap(const TileSource& source, CUtensorMap* map) {
  static const Encode kEncode = FindEncode();
  if (kEncode == nullptr) return false;
  cuuint64_t sizes[4], strides[3];
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  for (int i = 0; i < 4; ++i) sizes[i] = static_cast<cuuint64_t>(source.sizes[i]);
  for (int i = 0; i < 3; ++i) {
    const int64_t inner = i == 0 ? source.sizes[0] * 2 : static_cast<int64_t>(strides[i - 1]);
    strides[i] = source.sizes[i + 1] > 1 ? static_cast<cuuint64_t>(source.strides[i] * 2) : static_cast<cuuint64_t>((inner + 15) / 16 * 16);
    if (strides[i] == 0 || strides[i] % 16 != 0) return false;
  }
  const auto type = source.dtype == Dtype::kBf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  return kEncode(map, type, 4, const_cast<void*>(source.base), sizes, strides, source.box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace fathom::cuda
