// Rotary position embedding (RoFormer, arXiv 2104.09864).
#pragma once

#include <ATen/core/Tensor.h>

namespace fathom::ops {

// Rotates the rope part of each head: x [T, H, Dr]; cos, sin [T, Dr/2] float32 (already multiplied by YaRN's mscale where there is one).
// interleaved = false (Llama, Qwen2, the indexer of V3.2): pairs are (x[i], x[i + Dr/2]).
// interleaved = true (MLA's files): pairs are (x[2i], x[2i+1]), and the result is written in half order, as transformers does:
//   out[i] = x[2i] cos_i - x[2i+1] sin_i, out[i + Dr/2] = x[2i+1] cos_i + x[2i] sin_i.
// Returns a new tensor [T, H, Dr] of x's dtype; float32 arithmetic. Differentiable in x.
at::Tensor rope(const at::Tensor& x_THD, const at::Tensor& cos_TD, const at::Tensor& sin_TD, bool interleaved);

}  // namespace fathom::ops
