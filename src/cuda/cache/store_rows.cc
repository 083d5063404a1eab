#include <torch/library.h>

#include "cuda/cache/store_rows_kernel.h"
#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

void StoreRows(const at::Tensor& cache_SW, const at::Tensor& slots_T, const at::Tensor& a_TA, const at::Tensor& b_TB) {
  const c10::cuda::CUDAGuard guard(cache_SW.device());
  if (slots_T.numel() == 0 || cache_SW.size(1) == 0) return;
  const int64_t bytes = static_cast<int64_t>(cache_SW.element_size());
  StoreRowsParams params;
  params.cache = cache_SW.mutable_data_ptr();
  params.slots = slots_T.const_data_ptr<int64_t>();
  params.a = a_TA.const_data_ptr();
  params.b = b_TB.const_data_ptr();
  params.a_stride = a_TA.stride(0) * bytes;
  params.b_stride = b_TB.stride(0) * bytes;
  params.tokens = static_cast<int>(slots_T.size(0));
  params.a_bytes = static_cast<int>(a_TA.size(1) * bytes);
  params.b_bytes = static_cast<int>(b_TB.size(1) * bytes);
  LaunchStoreRows(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) { m.impl("store_rows", TORCH_FN(StoreRows)); }

}  // namespace fathom::cuda
