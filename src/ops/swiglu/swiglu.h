// The gated activation of the feed-forward network (GLU variants, arXiv 2002.05202).
#pragma once

#include <ATen/core/Tensor.h>

namespace fathom::ops {

// y[t, f] = silu(gate[t, f]) * up[t, f] with gate_up [T, 2F] = [gate, up]; silu in float32, rounded to the dtype before the product
// as transformers does. f32, bf16, f16. Differentiable.
at::Tensor swiglu(const at::Tensor& gate_up_TF);

}  // namespace fathom::ops
