#include "train/trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "ops/tolerance.h"
#include "train/schedule.h"
#include "train/tiny_training.h"

namespace fathom {
namespace {

TrainerOptions QuickOptions() {
  TrainerOptions options;
  options.schedule.peak = 1e-2;
  options.optimizer.weight_decay = 0.01;
  options.balance_gamma = 1e-2;
  return options;
}

TEST(Trainer, LossFallsOnATinyMixtureInEveryPrecision) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    TinyModel model{TinyMixture(1), dtype};
    Trainer trainer(model, QuickOptions());
    const std::vector<TrainBatch> batches = {CountingBatch({16, 16}, 3, 31, 1), CountingBatch({20, 12}, 7, 31, 1)};
    const StepMetrics first = trainer.Step(batches);
    StepMetrics last;
    for (int i = 0; i < 40; ++i) last = trainer.Step(batches);
    EXPECT_GT(first.loss, 3.0);
    EXPECT_LT(last.loss, 0.5) << c10::toString(dtype);
    EXPECT_LT(last.mtp_loss[0], 0.8 * first.mtp_loss[0]);
    EXPECT_EQ(last.step, 41);
    EXPECT_EQ(last.num_tokens, 64);
  }
}

TEST(Trainer, SkipsAStepThatIsNotFiniteAndEndsAfterSeveral) {
  TinyModel model{TinyMixture()};
  TrainerOptions options = QuickOptions();
  options.most_bad_steps = 3;
  Trainer trainer(model, options);
  const std::vector<TrainBatch> batch = {CountingBatch({16}, 3, 31)};
  trainer.Step(batch);
  at::Tensor norm;
  for (auto& [name, leaf] : model.TrainableLeaves()) {
    if (name == "model.norm.weight") norm = leaf.detach();
  }
  const float before = norm[0].item<float>();
  norm[0] = std::numeric_limits<float>::infinity();
  std::vector<at::Tensor> leaves;
  for (auto& [name, leaf] : model.TrainableLeaves()) leaves.push_back(leaf.detach().clone());
  EXPECT_TRUE(trainer.Step(batch).skipped);
  EXPECT_TRUE(trainer.Step(batch).skipped);
  for (size_t i = 0; i < leaves.size(); ++i) EXPECT_TRUE(ops::IsSame(model.TrainableLeaves()[i].second.detach(), leaves[i]));
  norm[0] = before;
  EXPECT_FALSE(trainer.Step(batch).skipped) << "a good step ends the row of bad ones";
  norm[0] = std::numeric_limits<float>::quiet_NaN();
  trainer.Step(batch);
  trainer.Step(batch);
  EXPECT_THROW(trainer.Step(batch), MachineError);
}

TEST(BalanceController, FollowsV3sRuleOnAHandWorkedCase) {
  ModelConfig config = TinyMixture();
  config.n_routed_experts = 4;
  TinyModel model{config};
  BalanceController controller(model, 0.5, /*freeze_step=*/10);
  ASSERT_EQ(controller.biases().size(), 2u);
  // Mean load 4: over, under, even, under.
  const std::vector<at::Tensor> counts = {at::tensor({9, 1, 4, 2}, at::kInt), at::tensor({4, 4, 4, 4}, at::kInt)};
  controller.Update(counts, 9);
  EXPECT_TRUE(controller.biases()[0].equal(at::tensor({-0.5f, 0.5f, 0.0f, 0.5f})));
  EXPECT_TRUE(controller.biases()[1].equal(at::zeros({4})));
  controller.Update(counts, 10);
  EXPECT_TRUE(controller.biases()[0].equal(at::tensor({-0.5f, 0.5f, 0.0f, 0.5f}))) << "frozen";
}

TEST(BalanceController, EvensOutARouterThatPrefersSomeExperts) {
  TinyModel model{TinyMixture()};
  TrainerOptions options = QuickOptions();
  options.schedule.peak = 0;
  options.balance_gamma = 0.02;
  Trainer trainer(model, options);
  const std::vector<TrainBatch> batch = {CountingBatch({64, 64}, 3, 31)};
  const StepMetrics first = trainer.Step(batch);
  StepMetrics last;
  for (int i = 0; i < 60; ++i) last = trainer.Step(batch);
  EXPECT_GT(last.worst_utilisation, first.worst_utilisation + 0.05);
}

TEST(ExpertLoad, IsWhatTheFormulasSay) {
  const ExpertLoad load = LoadOf({6, 2, 0, 0});  // mean 2
  EXPECT_DOUBLE_EQ(load.utilisation, 0.5);
  EXPECT_DOUBLE_EQ(load.max_over_mean, 3);
  EXPECT_NEAR(load.entropy, (-0.75 * std::log(0.75) - 0.25 * std::log(0.25)) / std::log(4.0), 1e-12);
}

TEST(Schedule, WarmsUpAndFollowsItsCurve) {
  const Schedule cosine{.kind = ScheduleKind::kCosine, .peak = 1, .final = 0.1, .warmup_steps = 10, .total_steps = 110};
  EXPECT_DOUBLE_EQ(cosine.At(5), 0.5);
  EXPECT_DOUBLE_EQ(cosine.At(10), 1);
  EXPECT_NEAR(cosine.At(60), 0.55, 1e-12);
  EXPECT_NEAR(cosine.At(110), 0.1, 1e-12);
  const Schedule wsd{.kind = ScheduleKind::kWsd, .peak = 1, .warmup_steps = 0, .total_steps = 100, .decay_fraction = 0.2};
  EXPECT_DOUBLE_EQ(wsd.At(80), 1);
  EXPECT_NEAR(wsd.At(85), 0.5, 1e-12);
  EXPECT_NEAR(wsd.At(100), 0, 1e-12);
  const Schedule v3{.kind = ScheduleKind::kV3, .peak = 2.2e-4, .final = 7.3e-6, .total_steps = 1480, .middle = 2.2e-5};
  EXPECT_DOUBLE_EQ(v3.At(1000), 2.2e-4);
  EXPECT_NEAR(v3.At(1001 + 215), (2.2e-4 + 2.2e-5) / 2, 1e-9);
  EXPECT_DOUBLE_EQ(v3.At(1440), 2.2e-5);
  EXPECT_DOUBLE_EQ(v3.At(1470), 7.3e-6);
}

}  // namespace
}  // namespace fathom
