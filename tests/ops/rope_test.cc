#include "ops/rope/rope.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/gradients.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

at::Tensor Formula64(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool interleaved) {
  const at::Tensor x64 = x.to(at::kDouble), c = cos.to(at::kDouble).unsqueeze(1), s = sin.to(at::kDouble).unsqueeze(1);
  const int64_t half = x.size(2) / 2;
  const at::Tensor pairs = interleaved ? x64.reshape({x.size(0), x.size(1), half, 2}) : x64.reshape({x.size(0), x.size(1), 2, half}).transpose(2, 3);
  const at::Tensor a = pairs.select(3, 0), b = pairs.select(3, 1);
  return at::cat({a.mul(c).sub(b.mul(s)), b.mul(c).add(a.mul(s))}, 2);
}

struct Tables {
  at::Tensor cos, sin;
};

Tables Angles(RandomTensors& random, int64_t T, int64_t half) {
  const at::Tensor angle = random.Normal({T, half}, at::kFloat, 3.0);
  return {RandomTensors::Poisoned(angle.cos()), RandomTensors::Poisoned(angle.sin())};
}

TEST(Rope, MatchesTheFormulaInBothLayoutsAndEveryDtype) {
  RandomTensors random(21);
  for (const auto dtype : FloatDtypes()) {
    for (const bool interleaved : {false, true}) {
      for (const int64_t D : {2, 6, 32, 64, 70}) {
        const at::Tensor x = random.Normal({5, 3, D}, dtype);
        const auto [cos, sin] = Angles(random, 5, D / 2);
        EXPECT_TRUE(IsNear(rope(x, cos, sin, interleaved), Formula64(x, cos, sin, interleaved), dtype)) << D;
      }
    }
  }
}

TEST(Rope, ReadsTheRopePartOfAWiderHeadInPlace) {
  RandomTensors random(22);
  const at::Tensor x = random.NormalSlice({4, 3, 16}, at::kFloat, 24);
  const auto [cos, sin] = Angles(random, 4, 8);
  for (const bool interleaved : {false, true}) {
    EXPECT_TRUE(IsNear(rope(x, cos, sin, interleaved), Formula64(x, cos, sin, interleaved), at::kFloat));
  }
}

TEST(Rope, HasTheFormulasGradient) {
  RandomTensors random(23);
  for (const auto dtype : FloatDtypes()) {
    for (const bool interleaved : {false, true}) {
      const at::Tensor x = random.Normal({6, 2, 38}, dtype), dy = random.Normal({6, 2, 38}, dtype);
      const auto [cos, sin] = Angles(random, 6, 19);
      ExpectSameGradients({x}, {dy}, [&, c = cos, s = sin](const auto& in) { return std::vector{rope(in[0], c, s, interleaved)}; },
                          [&, c = cos, s = sin](const auto& in) { return std::vector{Formula64(in[0], c, s, interleaved)}; });
    }
  }
}

TEST(Rope, GivesNothingForNoTokensAndRefusesAnOddHead) {
  RandomTensors random(24);
  const auto [cos, sin] = Angles(random, 0, 4);
  EXPECT_EQ(rope(random.Normal({0, 3, 8}, at::kFloat), cos, sin, false).numel(), 0);
  EXPECT_THROW(rope(random.Normal({0, 3, 7}, at::kFloat), cos, sin, false), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
