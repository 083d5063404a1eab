#include "model/layers/mlp.h"

#include "ops/swiglu/swiglu.h"

namespace fathom {

Mlp::Mlp(WeightRole gate, WeightRole up, WeightRole down, int64_t layer_idx, WeightStore& store)
    : gate_up_(store.MakeLinear({gate, up}, layer_idx)), down_(store.MakeLinear({down}, layer_idx)) {}

at::Tensor Mlp::operator()(const at::Tensor& x_TD) const { return down_(ops::swiglu(gate_up_(x_TD))); }

}  // namespace fathom
