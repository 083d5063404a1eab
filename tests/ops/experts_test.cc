#include "ops/experts/experts.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/gradients.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

TEST(SortByExpert, IsStableAndCountsEveryExpert) {
  RandomTensors random(51);
  for (const auto& [T, K, E] : std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {37, 3, 11}, {200, 6, 64}, {3, 2, 300}, {700, 8, 256}}) {
    const at::Tensor idx = random.Integers(0, E, {T, K});
    const auto [order, offsets] = sort_by_expert(idx, E);
    const at::Tensor flat = idx.reshape({-1}).to(at::kLong);
    EXPECT_TRUE(IsSame(order, at::argsort(flat, /*stable=*/true, 0).to(at::kInt)));
    const at::Tensor counts = offsets.narrow(0, 1, E).sub(offsets.narrow(0, 0, E));
    EXPECT_TRUE(IsSame(counts.to(at::kLong), flat.bincount({}, E)));
    EXPECT_EQ(offsets[0].item<int32_t>(), 0);
  }
}

TEST(SortByExpert, GivesEmptyGroupsForNoTokens) {
  const auto [order, offsets] = sort_by_expert(IntTensor({}).view({0, 4}), 3);
  EXPECT_EQ(order.numel(), 0);
  EXPECT_TRUE(IsSame(offsets, IntTensor({0, 0, 0, 0})));
}

at::Tensor GatherFormula(const at::Tensor& x, const at::Tensor& order, int64_t K) {
  return x.index_select(0, order.to(at::kLong).floor_divide(K));
}

at::Tensor CombineFormula64(const at::Tensor& x, const at::Tensor& order, const at::Tensor& weights) {
  const int64_t T = weights.size(0), K = weights.size(1);
  const at::Tensor position = at::argsort(order.to(at::kLong));
  const at::Tensor rows = x.to(at::kDouble).index_select(0, position).view({T, K, x.size(1)});
  return rows.mul(weights.to(at::kDouble).unsqueeze(2)).sum(1);
}

TEST(GatherTokens, CopiesEachTokenOnceAChoice) {
  RandomTensors random(52);
  for (const auto dtype : FloatDtypes()) {
    const at::Tensor x = random.Normal({13, 37}, dtype);
    const auto [order, offsets] = sort_by_expert(random.Integers(0, 5, {13, 3}), 5);
    EXPECT_TRUE(IsSame(gather_tokens(x, order, 3), GatherFormula(x, order, 3)));
  }
}

TEST(GatherTokens, HasTheFormulasGradient) {
  RandomTensors random(53);
  for (const auto dtype : FloatDtypes()) {
    const auto sorted = sort_by_expert(random.Integers(0, 5, {13, 3}), 5);
    const at::Tensor order = std::get<0>(sorted);
    ExpectSameGradients({random.Normal({13, 37}, dtype)}, {random.Normal({39, 37}, dtype)},
                        [&](const auto& in) { return std::vector{gather_tokens(in[0], order, 3)}; },
                        [&](const auto& in) { return std::vector{GatherFormula(in[0], order, 3)}; });
  }
}

TEST(CombineTokens, IsTheWeightedSumWithItsGradients) {
  RandomTensors random(54);
  for (const auto dtype : FloatDtypes()) {
    const auto sorted = sort_by_expert(random.Integers(0, 7, {11, 4}), 7);
    const at::Tensor order = std::get<0>(sorted);
    ExpectSameGradients({random.Normal({44, 29}, dtype), random.Normal({11, 4}, at::kFloat)}, {random.Normal({11, 29}, dtype)},
                        [&](const auto& in) { return std::vector{combine_tokens(in[0], order, in[1])}; },
                        [&](const auto& in) { return std::vector{CombineFormula64(in[0], order, in[1])}; });
  }
}

TEST(CombineTokens, GivesNothingForNoTokens) {
  RandomTensors random(55);
  EXPECT_EQ(combine_tokens(random.Normal({0, 6}, at::kFloat), IntTensor({}), random.Normal({0, 2}, at::kFloat)).sizes(), (std::vector<int64_t>{0, 6}));
}

struct Groups {
  at::Tensor x, w, dy, offsets;
  std::vector<int32_t> limits;
};

// Experts with no row, one row, few rows (a decode step) and many (a prefill).
Groups MakeGroups(RandomTensors& random, at::ScalarType dtype) {
  const std::vector<int32_t> limits = {0, 0, 1, 6, 6, 26, 27, 27};
  return {random.Normal({27, 35}, dtype), random.Normal({7, 19, 35}, dtype), random.Normal({27, 19}, dtype), IntTensor(limits), limits};
}

template <typename F>
void ForEachGroup(const Groups& groups, const F& f) {
  for (size_t e = 0; e + 1 < groups.limits.size(); ++e) f(static_cast<int64_t>(e), groups.limits[e], groups.limits[e + 1] - groups.limits[e]);
}

TEST(GroupedLinear, MultipliesEachRowWithItsExpert) {
  RandomTensors random(56);
  for (const auto dtype : FloatDtypes()) {
    const Groups groups = MakeGroups(random, dtype);
    at::Tensor expected = at::zeros({27, 19}, groups.x.options().dtype(at::kDouble));
    ForEachGroup(groups, [&](int64_t e, int64_t begin, int64_t rows) {
      expected.narrow(0, begin, rows).copy_(at::matmul(groups.x.narrow(0, begin, rows).to(at::kDouble), groups.w[e].to(at::kDouble).t()));
    });
    EXPECT_TRUE(IsNear(grouped_linear(groups.x, groups.w, groups.offsets), expected, dtype));
  }
}

TEST(GroupedLinearDgrad, MultipliesWithTheTransposedExpert) {
  RandomTensors random(57);
  for (const auto dtype : FloatDtypes()) {
    const Groups groups = MakeGroups(random, dtype);
    at::Tensor expected = at::zeros({27, 35}, groups.x.options().dtype(at::kDouble));
    ForEachGroup(groups, [&](int64_t e, int64_t begin, int64_t rows) {
      expected.narrow(0, begin, rows).copy_(at::matmul(groups.dy.narrow(0, begin, rows).to(at::kDouble), groups.w[e].to(at::kDouble)));
    });
    EXPECT_TRUE(IsNear(grouped_linear_dgrad(groups.dy, groups.w, groups.offsets), expected, dtype));
  }
}

TEST(GroupedLinearWgrad, SumsOverTheRowsOfEachExpertAndIsZeroWithoutRows) {
  RandomTensors random(58);
  for (const auto dtype : FloatDtypes()) {
    const Groups groups = MakeGroups(random, dtype);
    at::Tensor expected = at::zeros({7, 19, 35}, groups.x.options().dtype(at::kDouble));
    ForEachGroup(groups, [&](int64_t e, int64_t begin, int64_t rows) {
      expected[e].copy_(at::matmul(groups.dy.narrow(0, begin, rows).to(at::kDouble).t(), groups.x.narrow(0, begin, rows).to(at::kDouble)));
    });
    const at::Tensor dw = grouped_linear_wgrad(groups.dy, groups.x, groups.offsets);
    EXPECT_TRUE(IsNear(dw, expected, dtype));
    EXPECT_EQ(dw[0].abs().max().item<double>(), 0.0);
  }
}

TEST(GroupedLinear, AcceptsNoRowsAndThrowsRatherThanCutTheGraph) {
  RandomTensors random(59);
  const at::Tensor w = random.Normal({2, 3, 4}, at::kFloat), none = random.Normal({0, 4}, at::kFloat);
  EXPECT_EQ(grouped_linear(none, w, IntTensor({0, 0, 0})).sizes(), (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(grouped_linear_wgrad(random.Normal({0, 3}, at::kFloat), none, IntTensor({0, 0, 0})).abs().sum().item<double>(), 0.0);
  EXPECT_THROW(grouped_linear(random.Normal({2, 4}, at::kFloat).requires_grad_(true), w, IntTensor({0, 1, 2})), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
