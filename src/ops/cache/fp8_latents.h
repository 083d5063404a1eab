// MLA's cache in FP8, as FlashMLA lays it out: a row is R values of e4m3, a float32 scale for each 128 of them, then the rope part in bf16:
//   latent[i] = e4m3[i] * scale[i / 128]
// R + R / 32 + 2 Dr bytes: 656 where bf16 takes 1152 (R = 512, Dr = 64).
#pragma once

#include <ATen/core/Tensor.h>

namespace fathom::ops {

inline constexpr int64_t kFp8LatentGroup = 128;
inline constexpr float kFp8LatentMax = 448.0f;  // e4m3's largest value

constexpr int64_t Fp8LatentBytes(int64_t R, int64_t Dr) { return R + R / kFp8LatentGroup * 4 + 2 * Dr; }

// cache[slots[t]] = (latent[t] in e4m3 with scale max|.| / 448 of each 128, k_rope[t]): cache [S, Fp8LatentBytes(R, Dr)] uint8 contiguous, slots [T] int64
// in [0, S), latent [T, R] and k_rope [T, Dr] of one dtype (f32, bf16, f16), R a multiple of 128, Dr of 2, last dimension contiguous. A group of
// zeros has scale 0. Works in place; inference only (Autograd throws).
void store_fp8_latents(const at::Tensor& cache_SB, const at::Tensor& slots_T, const at::Tensor& latent_TR, const at::Tensor& k_rope_TD);

// Rows [..., B] of such a cache as [..., R + Dr] of `dtype`.
at::Tensor ExpandFp8Latents(const at::Tensor& rows, int64_t R, at::ScalarType dtype);

}  // namespace fathom::ops
