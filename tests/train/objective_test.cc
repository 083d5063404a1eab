#include "train/objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "model/recompute.h"
#include "ops/tolerance.h"
#include "train/tiny_training.h"

namespace fathom {
namespace {

using ops::IsNear;
using ops::IsSame;

double PlainLoss(const at::Tensor& logits, const at::Tensor& targets) {
  return at::cross_entropy_loss(logits.to(at::kDouble), targets, {}, at::Reduction::Mean, -100).item<double>();
}

TEST(Objective, NextTokenLossIsTheMeanCrossEntropyOfTheHeadsLogits) {
  TinyModel model{TinyMixture()};
  const TrainBatch batch = CountingBatch({9, 1, 14}, 3, 31);
  const Losses losses = EvaluateLosses(model, batch, CountTargets(std::vector<TrainBatch>{batch}), {});
  const at::NoGradGuard no_grad;
  const auto attention = MakePackedCausal(model.config(), batch.packed);
  const at::Tensor logits = model.Head(model.Forward(batch.packed, {.attention = attention.get()}));
  EXPECT_NEAR(losses.next_token.item<double>(), PlainLoss(logits, batch.targets_T), 1e-5);
}

// Depth d sees the tokens up to i + d of its own sequence and predicts i + d + 1: the plain reference runs each sequence alone.
TEST(Objective, MtpLossEqualsAPlainReferenceOfEachSequence) {
  TinyModel model{TinyMixture(2)};
  const std::vector<int32_t> lens = {9, 1, 2, 14};
  const TrainBatch batch = CountingBatch(lens, 3, 31, 2);
  ObjectiveOptions options;
  const Losses losses = EvaluateLosses(model, batch, CountTargets(std::vector<TrainBatch>{batch}), options);
  ASSERT_EQ(losses.mtp.size(), 2u);
  const at::NoGradGuard no_grad;
  double sums[2] = {}, counts[2] = {};
  int64_t first = 0;
  for (const int32_t n : lens) {
    std::vector<int32_t> tokens;
    for (int64_t i = first; i < first + n; ++i) tokens.push_back(static_cast<int32_t>(batch.packed.tokens_T[i].item<int64_t>()));
    const PackedBatch alone = PackedBatch::FromSequences({tokens}, at::kCPU);
    const auto attention = MakePackedCausal(model.config(), alone);
    at::Tensor hidden = model.Forward(alone, {.attention = attention.get()});
    for (int64_t depth = 0; depth < 2 && n > depth + 1; ++depth) {
      const PackedBatch next = PackedBatch::FromSequences({std::vector<int32_t>(tokens.begin() + depth + 1, tokens.end())}, at::kCPU);
      const auto next_attention = MakePackedCausal(model.config(), next);
      hidden = model.Mtp(depth, hidden.narrow(0, 0, n - depth - 1), next, {.attention = next_attention.get()});
      const at::Tensor log_p = model.MtpHead(depth, hidden).to(at::kDouble).log_softmax(1);
      for (int64_t i = 0; i + depth + 2 < n; ++i, ++counts[depth]) sums[depth] -= log_p[i][tokens[static_cast<size_t>(i + depth + 2)]].item<double>();
    }
    first += n;
  }
  for (int depth = 0; depth < 2; ++depth) EXPECT_NEAR(losses.mtp[static_cast<size_t>(depth)].item<double>(), sums[depth] / counts[depth], 2e-5) << depth;
}

TEST(Objective, MicrobatchesAddUpToTheGradientOfTheWholeBatch) {
  TinyModel model{TinyMixture(1)};
  model.RequireGrad(true);
  const TrainBatch a = CountingBatch({9, 4}, 3, 31, 1), b = CountingBatch({14}, 25, 31, 1), both = CountingBatch({9, 4, 14}, 3, 31, 1);
  ASSERT_TRUE(both.packed.tokens_T.equal(at::cat({a.packed.tokens_T, b.packed.tokens_T})));
  const ObjectiveOptions options{.mtp_weight = 0.3, .z_loss = 1e-3};
  AddGradients(model, both, CountTargets(std::vector<TrainBatch>{both}), options);
  const std::vector<at::Tensor> whole = Gradients(model);
  ClearGradients(model);
  const StepTargets targets = CountTargets(std::vector<TrainBatch>{a, b});
  const Losses first = AddGradients(model, a, targets, options), second = AddGradients(model, b, targets, options);
  const std::vector<at::Tensor> parts = Gradients(model);
  for (size_t i = 0; i < whole.size(); ++i) {
    ASSERT_EQ(whole[i].defined(), parts[i].defined()) << i;
    if (!whole[i].defined()) continue;
    EXPECT_TRUE(IsNear(parts[i], whole[i].to(at::kDouble), at::kBFloat16)) << i;
  }
  const Losses together = EvaluateLosses(model, both, CountTargets(std::vector<TrainBatch>{both}), options);
  EXPECT_NEAR(first.next_token.item<double>() + second.next_token.item<double>(), together.next_token.item<double>(), 1e-5);
}

// The balance loss is joined inside the layers: its gradient equals that of the same formula written out over the router's logits. Here through its
// effect: with alpha alone the router's gradient is what finite differences of alpha * sum f P give, f held fixed.
TEST(Objective, BalanceLossHasTheGradientOfItsFormula) {
  ModelConfig config = TinyMixture();
  config.num_hidden_layers = 2;
  TinyModel model{config};
  model.RequireGrad(true);
  const TrainBatch batch = CountingBatch({12, 20}, 3, 31);
  const StepTargets targets = CountTargets(std::vector<TrainBatch>{batch});
  const auto router = [&] {
    for (auto& [name, leaf] : model.TrainableLeaves()) {
      if (name.ends_with("mlp.gate.weight")) return leaf;
    }
    return at::Tensor();
  }();
  ASSERT_TRUE(router.defined());
  const auto gradient = [&](const ObjectiveOptions& options) {
    ClearGradients(model);
    AddGradients(model, batch, targets, options);
    return router.grad().clone();
  };
  ObjectiveOptions options{.balance = BalanceKind::kSequence, .balance_alpha = 2.0};
  const at::Tensor of_balance = gradient(options).sub(gradient({.balance = BalanceKind::kNone}));
  // sum over sequences of n / T f . P, weighted as the gradient is.
  const auto loss = [&] {
    RoutingTrace trace;
    BalanceLoss balance{.cu_seqlens = batch.packed.cu_seqlens, .scale = at::ones({1})};
    const at::NoGradGuard no_grad;
    const auto attention = MakePackedCausal(config, batch.packed);
    model.Forward(batch.packed, {.attention = attention.get(), .routing = &trace, .balance = &balance});
    const at::Tensor n_B = batch.packed.cu_seqlens.diff().to(at::kFloat);
    return balance.terms_B.back().mul(n_B).sum().div(n_B.sum()).item<double>();
  };
  int checked = 0;
  for (const int64_t at : {0, 17, 40, 95, 130, 188}) {
    const double step = 2e-3;
    at::Tensor values = router.detach().view(-1);
    const float before = values[at].item<float>();
    values[at] = before + step;
    const double above = loss();
    values[at] = before - step;
    const double below = loss();
    values[at] = before;
    const double expected = 2.0 * (above - below) / (2 * step), actual = of_balance.view(-1)[at].item<double>();
    if (std::abs(expected - actual) < 2e-3 + 0.05 * std::abs(expected)) ++checked;  // a choice that flips within the step changes f
  }
  EXPECT_GE(checked, 5);
}

TEST(Recompute, GivesTheSameBitsAsKeeping) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    TinyModel model{TinyMixture(1), dtype};
    model.RequireGrad(true);
    const TrainBatch batch = CountingBatch({19, 30}, 3, 31, 1);
    const StepTargets targets = CountTargets(std::vector<TrainBatch>{batch});
    const ObjectiveOptions kept{.balance = BalanceKind::kSequence, .balance_alpha = 0.1};
    const Losses expected_losses = AddGradients(model, batch, targets, kept);
    const std::vector<at::Tensor> expected = Gradients(model);
    RecomputePlan all{.layers = {true, true, true, true}}, some{.layers = {false, true}, .swiglu = true}, swiglu{.swiglu = true};
    for (const RecomputePlan* plan : {&all, &some, &swiglu}) {
      ClearGradients(model);
      ObjectiveOptions options = kept;
      options.recompute = plan;
      const Losses losses = AddGradients(model, batch, targets, options);
      EXPECT_TRUE(IsSame(losses.next_token, expected_losses.next_token));
      EXPECT_TRUE(IsSame(losses.balance, expected_losses.balance));
      const std::vector<at::Tensor> gradients = Gradients(model);
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(expected[i].defined(), gradients[i].defined()) << model.TrainableLeaves()[i].first;
        if (!expected[i].defined()) continue;
        EXPECT_TRUE(IsSame(gradients[i], expected[i])) << model.TrainableLeaves()[i].first;
      }
    }
  }
}

TEST(Recompute, DrawsTheSameRandomNumbersAgain) {
  const at::Tensor x = at::randn({40, 5}).requires_grad_(true);
  const auto run = [](const std::vector<at::Tensor>& in) {
    return std::vector<at::Tensor>{in[0].mul(at::rand(in[0].sizes())), in[0].mul(2)};
  };
  const std::vector<at::Tensor> out = Recompute(run, {x});
  const at::Tensor mask = out[0].detach().div(x.detach());
  const at::Tensor after = at::rand({3});
  out[0].sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), mask));
  EXPECT_FALSE(after.equal(at::rand({3}))) << "the backward leaves the generator where it was";
}

}  // namespace
}  // namespace fathom
