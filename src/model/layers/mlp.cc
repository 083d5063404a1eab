#include "model/layers/mlp.h"

#include "ops/swiglu/swiglu.h"

namespace fathom {

Mlp::Mlp(WeightRole gate, WeightRole up, WeightRole down, int64_t layer_idx, WeightStore& store)
    : gate_up_(store.MakeLinear({gate, up}, layer_idx)), down_(store.MakeLinear({down}, layer_idx)) {}

Remade SwigluOf(const at::Tensor& gate_up) {
  return {ops::swiglu(gate_up), {[](const std::vector<at::Tensor>& inputs) { return ops::swiglu(inputs[0]); }, {gate_up}}};
}

at::Tensor Mlp::operator()(const at::Tensor& x_TD, const LayerStep& step) const {
  const RecomputePlan* plan = step.context.recompute;
  const at::Tensor gate_up = gate_up_(x_TD);
  return plan != nullptr && plan->swiglu ? down_(SwigluOf(gate_up)) : down_(ops::swiglu(gate_up));
}

}  // namespace fathom
