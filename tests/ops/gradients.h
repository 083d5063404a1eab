// Gradients of an operator beside those that autograd finds for the plain formula in float64.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "ops/tolerance.h"

namespace fathom::ops {

using Formula = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

// Leaves of the same values that require a gradient; float64 for the reference.
inline std::vector<at::Tensor> Leaves(const std::vector<at::Tensor>& inputs, bool reference) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs) {
    at::Tensor leaf = input.detach();
    if (reference) leaf = leaf.to(at::kDouble);
    leaves.push_back(leaf.clone().requires_grad_(true));
  }
  return leaves;
}

// Feeds `upstream[i]` into output i of both (an undefined one leaves that output unused) and compares the gradient of every input.
inline void ExpectSameGradients(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& upstream, const Formula& op,
                                const Formula& formula) {
  const auto leaves = Leaves(inputs, false), reference_leaves = Leaves(inputs, true);
  const auto outputs = op(leaves), reference_outputs = formula(reference_leaves);
  ASSERT_EQ(outputs.size(), upstream.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!upstream[i].defined()) continue;
    EXPECT_TRUE(IsNear(outputs[i], reference_outputs[i], outputs[i].scalar_type())) << "output " << i;
    outputs[i].backward(upstream[i], /*retain_graph=*/true);
    reference_outputs[i].backward(upstream[i].to(at::kDouble), /*retain_graph=*/true);
  }
  for (size_t i = 0; i < leaves.size(); ++i) {
    ASSERT_TRUE(leaves[i].grad().defined()) << "input " << i << " got no gradient";
    EXPECT_EQ(leaves[i].grad().scalar_type(), inputs[i].scalar_type());
    EXPECT_TRUE(IsNear(leaves[i].grad(), reference_leaves[i].grad(), inputs[i].scalar_type())) << "gradient of input " << i;
  }
}

}  // namespace fathom::ops
