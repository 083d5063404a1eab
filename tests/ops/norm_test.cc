#include "ops/norm/norm.h"

#include <ATen/ops/add.h>
#include <ATen/ops/rsqrt.h>
#include <gtest/gtest.h>

#include "ops/gradients.h"
#include "ops/norm_formula.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

constexpr double kNormEps = 1e-5;

TEST(RmsNorm, MatchesTheFormulaAtOddWidthsInEveryDtype) {
  RandomTensors random(1);
  for (const auto dtype : FloatDtypes()) {
    for (const int64_t D : {1, 3, 16, 31, 64, 576, 1537}) {
      const at::Tensor x = random.Normal({5, D}, dtype, 3.0), w = random.Normal({D}, dtype);
      EXPECT_TRUE(IsNear(rms_norm(x, w, kNormEps), RmsNorm64(x, w, kNormEps), dtype)) << D;
    }
  }
}

TEST(RmsNorm, RoundsTheNormalisedValueBeforeTheProductWithTheWeight) {
  RandomTensors random(2);
  const at::Tensor x = random.Normal({7, 65}, at::kBFloat16), w = random.Normal({65}, at::kBFloat16);
  const at::Tensor x32 = x.to(at::kFloat);
  const at::Tensor expected = x32.mul(x32.mul(x32).mean(-1, true).add(kNormEps).rsqrt()).to(at::kBFloat16).mul(w);
  const at::Tensor differs = rms_norm(x, w, kNormEps).ne(expected);
  EXPECT_LE(differs.sum().item<int64_t>(), 3);  // the order of the sum of squares may move a value over a rounding limit
}

TEST(RmsNorm, ReadsRowsOfAWiderTensorAndAnyNumberOfDims) {
  RandomTensors random(3);
  const at::Tensor slice = random.NormalSlice({6, 33}, at::kFloat, 8), w = random.Normal({33}, at::kFloat);
  EXPECT_TRUE(IsNear(rms_norm(slice, w, kNormEps), RmsNorm64(slice, w, kNormEps), at::kFloat));
  const at::Tensor deep = random.Normal({2, 3, 33}, at::kFloat);
  EXPECT_TRUE(IsNear(rms_norm(deep, w, kNormEps), RmsNorm64(deep, w, kNormEps), at::kFloat));
}

TEST(RmsNorm, GivesNothingForNoRows) {
  RandomTensors random(4);
  EXPECT_EQ(rms_norm(random.Normal({0, 8}, at::kFloat), random.Normal({8}, at::kFloat), kNormEps).sizes(), (std::vector<int64_t>{0, 8}));
}

TEST(RmsNorm, HasTheFormulasGradients) {
  RandomTensors random(5);
  for (const auto dtype : FloatDtypes()) {
    const at::Tensor x = random.Normal({131, 37}, dtype), w = random.Normal({37}, dtype), dy = random.Normal({131, 37}, dtype);
    ExpectSameGradients({x, w}, {dy}, [](const auto& in) { return std::vector{rms_norm(in[0], in[1], kNormEps)}; },
                        [](const auto& in) { return std::vector{RmsNorm64(in[0], in[1], kNormEps)}; });
  }
}

TEST(AddRmsNorm, IsTheNormOfTheSumToTheBit) {
  RandomTensors random(6);
  for (const auto dtype : FloatDtypes()) {
    const at::Tensor x = random.Normal({9, 51}, dtype), residual = random.NormalSlice({9, 51}, dtype, 4), w = random.Normal({51}, dtype);
    const auto [y, sum] = add_rms_norm(x, residual, w, kNormEps);
    EXPECT_TRUE(IsSame(sum, at::add(x, residual)));
    EXPECT_TRUE(IsSame(y, rms_norm(sum, w, kNormEps)));
  }
}

TEST(AddRmsNorm, HasTheFormulasGradientsThroughEachOutputAndBoth) {
  RandomTensors random(7);
  const at::Tensor x = random.Normal({70, 24}, at::kFloat), residual = random.Normal({70, 24}, at::kFloat), w = random.Normal({24}, at::kFloat);
  const at::Tensor dy = random.Normal({70, 24}, at::kFloat), dsum = random.Normal({70, 24}, at::kFloat);
  const Formula op = [](const auto& in) {
    auto [y, sum] = add_rms_norm(in[0], in[1], in[2], kNormEps);
    return std::vector{y, sum};
  };
  const Formula formula = [](const auto& in) { return std::vector{RmsNorm64(in[0].add(in[1]), in[2], kNormEps), in[0].add(in[1])}; };
  ExpectSameGradients({x, residual, w}, {dy, dsum}, op, formula);
  ExpectSameGradients({x, residual, w}, {dy, at::Tensor()}, op, formula);
}

}  // namespace
}  // namespace fathom::ops
