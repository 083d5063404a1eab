#include "cuda/attention/mla_wgmma.cuh"

#include "cuda/attention/choose_kernel.h"
#include "cuda/tensor_map.h"

namespace fathom::cuda {
namespace {

template <typename T, bool kFp8>
void Launch(const AttentionParams& p, const CUtensorMap& map, cudaStream_t stream) {
  using namespace mla_wgmma;
  cudaFuncSetAttribute(MlaWgmmaKernel<T, kFp8>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  LaunchKernel(MlaWgmmaKernel<T, kFp8>, dim3(static_cast<unsigned>(MlaWgmmaTiles(p.tokens, p.heads, p.batch)), 1, p.num_splits), kThreads, kBytes, stream, p,
               map);
}

}  // namespace

bool LaunchMlaWgmma(const AttentionParams& p, int64_t num_pages, cudaStream_t stream) {
  CUtensorMap map;
  TileSource source;
  source.base = p.k.base;
  source.dtype = p.dtype;
  source.sizes[0] = kMlaLatent + kMlaRope;
  source.sizes[1] = p.page_size;
  source.sizes[2] = num_pages;
  source.strides[0] = p.k.row_stride;
  source.strides[1] = p.k.page_stride;
  source.box[1] = 64;
  if (p.is_fp8) {
    // The rope parts alone, as 16-bit values.
    source.base = static_cast<const unsigned char*>(p.k.base) + kFp8RopeOffset;
    source.sizes[0] = kMlaRope;
    source.strides[0] /= 2;
    source.strides[1] /= 2;
  }
  if (!MakeTensorMap(source, &map)) return false;
  if (p.is_fp8) {
    Launch<__nv_bfloat16, true>(p, map, stream);
  } else {
    p.dtype == Dtype::kBf16 ? Launch<__nv_bfloat16, false>(p, map, stream) : Launch<__half, false>(p, map, stream);
  }
  return true;
}

}  // namespace fathom::cuda
