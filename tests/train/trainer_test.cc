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
  EXPECT_GT(last.worst_utilisation.value, first.worst_utilisation.value + 0.05);
}

TEST(Trainer, MuonTrainsTooAndResumesItsState) {
  TinyModel model{TinyMixture(1)};
  TrainerOptions options = QuickOptions();
  options.optimizer.kind = OptimizerKind::kMuon;
  Trainer trainer(model, options);
  const std::vector<TrainBatch> batches = {CountingBatch({16, 16}, 3, 31, 1)};
  StepMetrics last;
  for (int i = 0; i < 40; ++i) last = trainer.Step(batches);
  EXPECT_LT(last.loss, 0.5);
  int64_t num_second = 0, num_first = 0;
  trainer.optimizer().ForEachState([&](const std::string& name, at::Tensor&) {
    num_first += name.starts_with("first_moment.");
    num_second += name.starts_with("second_moment.");
  });
  EXPECT_GT(num_second, 0) << "AdamW of what is no matrix";
  EXPECT_LT(num_second, num_first);
}

TEST(Trainer, Float16HalvesItsLossScaleUntilGradientsAreFiniteAndLearns) {
  TinyModel model{TinyMixture(1), at::kHalf};
  Trainer trainer(model, QuickOptions());
  trainer.SetCounters({.loss_scale = LossScaler::kMost, .scale_good_steps = 0});
  const std::vector<TrainBatch> batches = {CountingBatch({16, 16}, 3, 31, 1)};
  int64_t num_skipped = 0;
  StepMetrics last;
  for (int i = 0; i < 60; ++i) {
    last = trainer.Step(batches);
    num_skipped += last.skipped;
  }
  EXPECT_GT(num_skipped, 0);
  EXPECT_LT(num_skipped, 20) << "the scale fell to where gradients fit";
  EXPECT_LT(last.loss_scale, LossScaler::kMost);
  EXPECT_LT(last.loss, 0.5);
}

TEST(LossScaler, GrowsAfterManyGoodStepsAndFallsAtABadOne) {
  LossScaler scaler(true);
  for (int64_t i = 0; i < LossScaler::kGrowthSteps - 1; ++i) scaler.Grow();
  EXPECT_EQ(scaler.scale(), LossScaler::kFirst);
  scaler.Grow();
  EXPECT_EQ(scaler.scale(), 2 * LossScaler::kFirst);
  EXPECT_TRUE(scaler.BackOff());
  EXPECT_EQ(scaler.scale(), LossScaler::kFirst);
  EXPECT_EQ(scaler.good_steps(), 0);
  while (scaler.BackOff()) {}
  EXPECT_EQ(scaler.scale(), LossScaler::kLeast) << "at the least a bad step is no overflow";
  EXPECT_FALSE(LossScaler(false).BackOff());
}

TEST(Trainer, AveragesItsWeightsAsTheFormulaSays) {
  TinyModel model{TinyMixture()};
  TrainerOptions options = QuickOptions();
  options.average_decay = 0.5;
  options.average_every = 2;  // a decay of 0.25 every second step
  Trainer trainer(model, options);
  const auto weight = [&] { return trainer.optimizer().leaves()[0].second.detach().clone(); };
  at::Tensor expected = weight();
  const std::vector<TrainBatch> batch = {CountingBatch({16}, 3, 31)};
  for (int step = 1; step <= 6; ++step) {
    trainer.Step(batch);
    if (step % 2 == 0) expected = 0.25 * expected + 0.75 * weight();
  }
  EXPECT_TRUE(at::allclose(trainer.average()->values()[0], expected, 1e-5, 1e-7));
}

TEST(Trainer, DropsWhatIsBeyondTheExpertsCapacityAndCountsIt) {
  TinyModel model{TinyMixture()};
  TrainerOptions options = QuickOptions();
  options.objective.expert_capacity = 1;
  Trainer trainer(model, options);
  const std::vector<TrainBatch> batch = {CountingBatch({40}, 3, 31)};
  const StepMetrics metrics = trainer.Step(batch);
  int64_t expected = 0;
  for (const auto& counts : metrics.counts) {
    for (const int64_t count : counts) expected += std::max<int64_t>(0, count - 10);  // 40 tokens x 2 choices over 8 experts
  }
  EXPECT_GT(expected, 0);
  EXPECT_EQ(metrics.num_dropped, expected);
  EXPECT_GT(metrics.most_dropped.value, 0);
  options.objective.expert_capacity = 8;  // every token fits
  TinyModel same{TinyMixture()};
  Trainer roomy(same, options);
  TinyModel plain_model{TinyMixture()};
  Trainer plain(plain_model, QuickOptions());
  const StepMetrics with_room = roomy.Step(batch), without_limit = plain.Step(batch);
  EXPECT_EQ(with_room.num_dropped, 0);
  EXPECT_EQ(with_room.loss, without_limit.loss);
  EXPECT_EQ(with_room.grad_norm, without_limit.grad_norm);
}

TEST(Trainer, EvenExpertGradientsHaveOneNorm) {
  // With plain gradient steps' direction in view: AdamW's first moment after one step is 0.1 of the clipped gradient.
  TinyModel model{TinyMixture()};
  TrainerOptions options = QuickOptions();
  options.even_expert_gradients = true;
  Trainer trainer(model, options);
  trainer.Step({CountingBatch({64, 64}, 3, 31)});
  int64_t num_leaves = 0;
  trainer.optimizer().ForEachState([&](const std::string& name, at::Tensor& values) {
    if (!name.starts_with("first_moment.") || values.dim() != 3) return;
    const at::Tensor norms = values.flatten(1).norm(2, {1}), used = norms.masked_select(norms > 0);
    EXPECT_LT((used.max() / used.min()).item<double>(), 1.01) << name;
    ++num_leaves;
  });
  EXPECT_EQ(num_leaves, 4);
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
