#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "cuda/launch.h"
#include "cuda/sample/sample_kernel.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

Tensor SampleTokens(const Tensor& logits_BV, const Tensor& settings, const Tensor& biases, const Tensor& seen, const Tensor& limits) {
  const c10::cuda::CUDAGuard guard(logits_BV.device());
  const int64_t B = logits_BV.size(0), V = logits_BV.size(1);
  Tensor tokens = at::empty({B}, logits_BV.options().dtype(at::kLong)), scores, is_seen;
  if (B == 0) return tokens;
  SampleParams params;
  if (biases.numel() > 0) {
    scores = at::empty({B, V}, logits_BV.options().dtype(at::kDouble));
    is_seen = at::empty({B, SeenWords(static_cast<int>(V))}, logits_BV.options().dtype(at::kInt));
    params.scores = scores.mutable_data_ptr<double>();
    params.is_seen = reinterpret_cast<unsigned*>(is_seen.mutable_data_ptr<int32_t>());
    params.biases = biases.const_data_ptr<double>();
    params.seen = seen.const_data_ptr<int32_t>();
  }
  params.logits = logits_BV.const_data_ptr();
  params.stride = logits_BV.stride(0);
  params.dtype = DtypeOf(logits_BV);
  params.settings = settings.const_data_ptr<double>();
  params.limits = limits.const_data_ptr<int32_t>();
  params.tokens = tokens.mutable_data_ptr<int64_t>();
  params.rows = static_cast<int>(B);
  params.vocab = static_cast<int>(V);
  LaunchSample(params, CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return tokens;
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) { m.impl("sample_tokens", TORCH_FN(SampleTokens)); }

}  // namespace fathom::cuda
