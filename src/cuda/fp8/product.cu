#include "cuda/fp8/product.cuh"
#include "cuda/fp8/product_kernel.h"

namespace fathom::cuda {
namespace {

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                                 CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

EncodeTiled FindEncodeTiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result) != cudaSuccess) return nullptr;
  return result == cudaDriverEntryPointSuccess ? reinterpret_cast<EncodeTiled>(function) : nullptr;
}

// Rows of `width` bytes one after the other, taken in boxes of 128 bytes x box_rows; zeros outside.
bool MakeMap(CUtensorMap& map, const void* values, int64_t width, int64_t rows, int box_rows) {
  static const EncodeTiled encode = FindEncodeTiled();
  if (encode == nullptr) return false;
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(rows)}, strides[1] = {static_cast<cuuint64_t>(width)};
  const cuuint32_t box[2] = {128, static_cast<cuuint32_t>(box_rows)}, steps[2] = {1, 1};
  return encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(values), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

template <int kTileRows, bool kWgrad, typename Out>
bool Launch(const CUtensorMap& a, const CUtensorMap& b, const fp8::Problem& problem, int num_processors, cudaStream_t stream) {
  constexpr int kBytes = fp8::Layout<kTileRows, kWgrad>::kAllocated;
  const auto kernel = fp8::ProductKernel<kTileRows, kWgrad, Out>;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes) != cudaSuccess) return false;
  LaunchClusterKernel(kernel, dim3(static_cast<unsigned>(num_processors / 2 * 2)), fp8::kThreads, 2, kBytes, stream, a, b, problem);
  return true;
}

}  // namespace

bool LaunchFp8Linear(const Fp8LinearParams& p, cudaStream_t stream) {
  const bool large = p.tile_rows == 256;
  CUtensorMap a, b;
  if (!MakeMap(a, p.a, p.depth, p.rows, large ? 128 : 64) || !MakeMap(b, p.w, p.depth, static_cast<int64_t>(p.groups) * p.columns, 128)) return false;
  fp8::Problem problem;
  problem.a_scale = p.a_scale;
  problem.b_scale = p.w_scale;
  problem.out = p.out;
  problem.offsets = p.offsets;
  problem.rows = p.rows;
  problem.groups = p.groups;
  problem.out_columns = p.columns;
  problem.depth_blocks = (p.depth + 127) / 128;
  if (p.output == Fp8Output::kBf16) {
    return large ? Launch<256, false, __nv_bfloat16>(a, b, problem, p.num_processors, stream)
                 : Launch<128, false, __nv_bfloat16>(a, b, problem, p.num_processors, stream);
  }
  return large ? Launch<256, false, float>(a, b, problem, p.num_processors, stream) : Launch<128, false, float>(a, b, problem, p.num_processors, stream);
}

bool LaunchFp8Wgrad(const Fp8WgradParams& p, cudaStream_t stream) {
  CUtensorMap a, b;
  if (!MakeMap(a, p.a, 128, static_cast<int64_t>(p.blocks) * p.n, 64) || !MakeMap(b, p.x, 128, static_cast<int64_t>(p.blocks) * p.k, 128)) return false;
  fp8::Problem problem;
  problem.a_scale = p.a_scale;
  problem.b_scale = p.x_scale;
  problem.out = p.out;
  problem.offsets = p.offsets;
  problem.rows = p.rows;
  problem.groups = p.groups;
  problem.out_rows = p.n;
  problem.out_columns = p.k;
  return p.output == Fp8Output::kBf16 ? Launch<128, true, __nv_bfloat16>(a, b, problem, p.num_processors, stream)
                                      : Launch<128, true, float>(a, b, problem, p.num_processors, stream);
}

}  // namespace fathom::cuda
