#include "ops/swiglu/swiglu.h"

#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <gtest/gtest.h>

#include "ops/gradients.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

at::Tensor Formula64(const at::Tensor& gate_up) {
  const at::Tensor g64 = gate_up.to(at::kDouble);
  const int64_t F = gate_up.size(1) / 2;
  const at::Tensor gate = g64.narrow(1, 0, F);
  return gate.mul(gate.sigmoid()).mul(g64.narrow(1, F, F));
}

TEST(Swiglu, MatchesTheFormulaAtOddWidthsInEveryDtype) {
  RandomTensors random(31);
  for (const auto dtype : FloatDtypes()) {
    for (const int64_t F : {1, 7, 16, 45, 129, 1536}) {
      const at::Tensor x = random.Normal({4, 2 * F}, dtype, 4.0);
      EXPECT_TRUE(IsNear(swiglu(x), Formula64(x), dtype)) << F;
    }
  }
}

TEST(Swiglu, StaysFiniteForLargeGates) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::tensor({-1e30, -200.0, -90.0, 90.0, 1e4, 1.0, 1.0, 1.0, 1.0, 1.0}, at::kDouble).view({1, 10}).to(dtype).to(TestDevice());
    const at::Tensor expected = at::tensor({0.0, 0.0, 0.0, 90.0, 1e4}, at::kDouble).view({1, 5}).to(dtype);
    EXPECT_TRUE(IsNear(swiglu(x), expected, dtype));
  }
}

TEST(Swiglu, RoundsTheActivationBeforeTheProduct) {
  RandomTensors random(32);
  const at::Tensor x = random.Normal({9, 2 * 77}, at::kBFloat16);
  const at::Tensor expected = at::silu(x.narrow(1, 0, 77)).mul(x.narrow(1, 77, 77));
  EXPECT_LE(swiglu(x).ne(expected).sum().item<int64_t>(), 5);
}

TEST(Swiglu, HasTheFormulasGradient) {
  RandomTensors random(33);
  for (const auto dtype : FloatDtypes()) {
    const at::Tensor x = random.Normal({11, 2 * 39}, dtype), dy = random.Normal({11, 39}, dtype);
    ExpectSameGradients({x}, {dy}, [](const auto& in) { return std::vector{swiglu(in[0])}; },
                        [](const auto& in) { return std::vector{Formula64(in[0])}; });
  }
}

TEST(Swiglu, GivesNothingForNoTokens) {
  RandomTensors random(34);
  EXPECT_EQ(swiglu(random.Normal({0, 8}, at::kFloat)).sizes(), (std::vector<int64_t>{0, 4}));
}

}  // namespace
}  // namespace fathom::ops
