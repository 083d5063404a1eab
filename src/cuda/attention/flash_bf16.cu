#include "cuda/attention/flash.cuh"

namespace fathom::cuda {

void LaunchFlashBf16(const AttentionParams& p, cudaStream_t stream) { flash::LaunchShape<__nv_bfloat16>(p, stream); }

}  // namespace fathom::cuda
