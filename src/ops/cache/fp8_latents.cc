#include "ops/cache/fp8_latents.h"

#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include "ops/cache/expand_fp8_latents.h"
#include "ops/cpu/dtype.h"
#include "ops/library.h"

namespace fathom::ops {
namespace {

using StoreFp8LatentsOp = Op<"fathom::store_fp8_latents", void(const Tensor&, const Tensor&, const Tensor&, const Tensor&)>;

void StoreFp8LatentsCpu(const Tensor& cache, const Tensor& slots, const Tensor& latent, const Tensor& k_rope) {
  const int64_t T = latent.size(0), R = latent.size(1);
  const Tensor groups = latent.to(at::kFloat).view({T, R / kFp8LatentGroup, kFp8LatentGroup});
  const Tensor scale = groups.abs().amax({2}, /*keepdim=*/true).div(kFp8LatentMax);
  const Tensor codes = at::where(scale.gt(0), groups.div(scale), at::zeros_like(groups)).to(at::kFloat8_e4m3fn);
  const auto bytes = [T](const Tensor& x) { return x.contiguous().view({T, -1}).view(at::kByte); };
  Tensor target = cache;
  target.index_copy_(0, slots, at::cat({bytes(codes), bytes(scale), bytes(k_rope.to(at::kBFloat16))}, 1));
}

}  // namespace

void store_fp8_latents(const Tensor& cache_SB, const Tensor& slots_T, const Tensor& latent_TR, const Tensor& k_rope_TD) {
  FATHOM_CHECK(latent_TR.dim() == 2 && k_rope_TD.dim() == 2 && latent_TR.size(1) % kFp8LatentGroup == 0 && k_rope_TD.size(1) % 2 == 0 &&
                   IsFloatDtype(latent_TR.scalar_type()) && latent_TR.scalar_type() == k_rope_TD.scalar_type(),
               "store_fp8_latents: latent [T, R] and k_rope [T, Dr] of one float dtype, R a multiple of {}, got R = {} and Dr = {}", kFp8LatentGroup,
               latent_TR.size(-1), k_rope_TD.size(-1));
  FATHOM_CHECK(cache_SB.dim() == 2 && cache_SB.is_contiguous() && cache_SB.scalar_type() == at::kByte &&
                   cache_SB.size(1) == Fp8LatentBytes(latent_TR.size(1), k_rope_TD.size(1)),
               "store_fp8_latents: the cache must be [S, {}] uint8 contiguous", Fp8LatentBytes(latent_TR.size(1), k_rope_TD.size(1)));
  FATHOM_CHECK(slots_T.dim() == 1 && slots_T.scalar_type() == at::kLong && slots_T.is_contiguous() && slots_T.size(0) == latent_TR.size(0) &&
                   slots_T.size(0) == k_rope_TD.size(0),
               "store_fp8_latents: slots [T] int64 and rows [T, ...] must agree, got {} slots, {} and {} rows", slots_T.numel(), latent_TR.size(0),
               k_rope_TD.size(0));
  const auto rows = [](const Tensor& x) { return x.stride(1) == 1 ? x : x.contiguous(); };
  StoreFp8LatentsOp::Call(cache_SB, slots_T, rows(latent_TR), rows(k_rope_TD));
}

Tensor ExpandFp8Latents(const Tensor& rows, int64_t R, at::ScalarType dtype) { return ExpandFp8Rows(rows, R, dtype); }

TORCH_LIBRARY_IMPL(fathom, CPU, m) { m.impl("store_fp8_latents", TORCH_FN(StoreFp8LatentsCpu)); }
TORCH_LIBRARY_IMPL(fathom, Autograd, m) { m.impl("store_fp8_latents", TORCH_FN(StoreFp8LatentsOp::NotDifferentiable)); }

}  // namespace fathom::ops
