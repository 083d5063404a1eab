#include "ops/router/router.h"

#include <ATen/ops/full_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "ops/gradients.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

at::Tensor Scores64(const at::Tensor& logits, const RouterParams& params) {
  const at::Tensor l64 = logits.to(at::kDouble);
  return params.score_func == 0 ? l64.softmax(1) : l64.sigmoid();
}

at::Tensor Weights64(const at::Tensor& logits, const at::Tensor& topk_idx, const RouterParams& params) {
  const at::Tensor chosen = Scores64(logits, params).gather(1, topk_idx.to(at::kLong));
  return (params.norm_topk_prob ? chosen.div(chosen.sum(1, true).add(1e-20)) : chosen).mul(params.routed_scaling_factor);
}

at::Tensor Choose64(const at::Tensor& logits, const std::optional<at::Tensor>& bias, const RouterParams& params) {
  const int64_t T = logits.size(0), E = logits.size(1), size = E / params.n_group;
  at::Tensor choice = Scores64(logits, params);
  if (bias) choice = choice.add(bias->to(at::kDouble));
  if (params.n_group > 1) {
    const at::Tensor grouped = choice.view({T, params.n_group, size});
    const at::Tensor scores =
        params.group_top2 ? std::get<0>(grouped.topk(2, 2)).sum(2) : std::get<0>(grouped.max(2));
    const at::Tensor best = std::get<1>(scores.topk(params.topk_group, 1));
    at::Tensor open = at::full_like(scores, -std::numeric_limits<double>::infinity());
    open.scatter_(1, best, 0.0);
    choice = grouped.add(open.unsqueeze(2)).reshape({T, E});
  }
  return std::get<1>(choice.topk(params.top_k, 1)).to(at::kInt);
}

struct Case {
  const char* name;
  int64_t E;
  bool bias;
  RouterParams params;
};

std::vector<Case> Cases() {
  return {
      {"V2-Lite", 64, false, {.top_k = 6, .score_func = 0, .norm_topk_prob = false}},
      {"V2", 160, false, {.top_k = 6, .score_func = 0, .n_group = 8, .topk_group = 3, .group_top2 = false, .norm_topk_prob = false, .routed_scaling_factor = 16.0}},
      {"V3", 256, true, {.top_k = 8, .score_func = 1, .n_group = 8, .topk_group = 4, .routed_scaling_factor = 2.5}},
      {"odd", 15, true, {.top_k = 4, .score_func = 1, .n_group = 5, .topk_group = 2, .group_top2 = true}},
      {"every expert", 5, false, {.top_k = 5, .score_func = 0}},
      {"one", 7, false, {.top_k = 1, .score_func = 0, .norm_topk_prob = false}},
  };
}

TEST(Route, ChoosesAndWeighsAsTheFormulaOfEachModel) {
  RandomTensors random(41);
  for (const Case& c : Cases()) {
    const at::Tensor logits = random.Normal({67, c.E}, at::kFloat, 2.0);
    std::optional<at::Tensor> bias;
    if (c.bias) bias = random.Normal({c.E}, at::kFloat, 0.3);
    const auto [weights, idx] = route(logits, bias, c.params);
    EXPECT_TRUE(IsSame(idx, Choose64(logits, bias, c.params))) << c.name;
    EXPECT_TRUE(IsNear(weights, Weights64(logits, idx, c.params), at::kFloat)) << c.name;
  }
}

TEST(Route, TakesTheLowerIndexOfATie) {
  const at::Tensor logits = RandomTensors::Poisoned(IntTensor({1, 3, 3, 0, 3, 1}).to(at::kFloat).view({1, 6}));
  const auto [weights, idx] = route(logits, std::nullopt, {.top_k = 4, .score_func = 0});
  EXPECT_TRUE(IsSame(idx, IntTensor({1, 2, 4, 0}).view({1, 4})));
}

TEST(Route, KeepsABiasOutOfTheWeights) {
  const at::Tensor logits = IntTensor({0, 0, 0, 0}).to(at::kFloat).view({1, 4}), bias = IntTensor({0, 5, 0, 3}).to(at::kFloat);
  const auto [weights, idx] = route(logits, bias, {.top_k = 2, .score_func = 1});
  EXPECT_TRUE(IsSame(idx, IntTensor({1, 3}).view({1, 2})));
  EXPECT_TRUE(IsNear(weights, at::full_like(weights, 0.5), at::kFloat));
}

TEST(Route, HasTheFormulasGradientAndReplayToo) {
  RandomTensors random(42);
  for (const Case& c : Cases()) {
    const at::Tensor logits = random.Normal({9, c.E}, at::kFloat, 2.0), dw = random.Normal({9, c.params.top_k}, at::kFloat);
    const auto [weights, chosen] = route(logits, std::nullopt, c.params);
    const at::Tensor idx = chosen;
    const Formula formula = [&](const auto& in) { return std::vector{Weights64(in[0], idx, c.params)}; };
    ExpectSameGradients({logits}, {dw}, [&](const auto& in) { return std::vector{std::get<0>(route(in[0], std::nullopt, c.params))}; }, formula);
    ExpectSameGradients({logits}, {dw}, [&](const auto& in) { return std::vector{route_replay(in[0], idx, c.params)}; }, formula);
  }
}

TEST(Route, GivesAnIndexThatNeedsNoGradient) {
  RandomTensors random(43);
  const auto [weights, idx] = route(random.Normal({3, 8}, at::kFloat).requires_grad_(true), std::nullopt, {.top_k = 2});
  EXPECT_TRUE(weights.requires_grad());
  EXPECT_FALSE(idx.requires_grad());
}

TEST(RouteReplay, GivesTheWeightsOfTheRolloutToTheBit) {
  RandomTensors random(44);
  for (const Case& c : Cases()) {
    const at::Tensor logits = random.Normal({21, c.E}, at::kFloat);
    const auto [weights, idx] = route(logits, std::nullopt, c.params);
    EXPECT_TRUE(IsSame(route_replay(logits, idx, c.params), weights)) << c.name;
  }
}

TEST(Route, AcceptsNoTokensAndRefusesMoreExpertsThanTheGroupsHave) {
  RandomTensors random(45);
  EXPECT_EQ(std::get<0>(route(random.Normal({0, 8}, at::kFloat), std::nullopt, {.top_k = 2})).sizes(), (std::vector<int64_t>{0, 2}));
  EXPECT_THROW(route(random.Normal({2, 8}, at::kFloat), std::nullopt, {.top_k = 3, .n_group = 4, .topk_group = 1}), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
