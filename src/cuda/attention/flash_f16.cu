#include "cuda/attention/flash.cuh"

namespace fathom::cuda {

void LaunchFlashF16(const AttentionParams& p, cudaStream_t stream) { flash::LaunchShape<__half>(p, stream); }

}  // namespace fathom::cuda
