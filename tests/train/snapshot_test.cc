#include "train/snapshot.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "ops/tolerance.h"
#include "train/tiny_training.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

class SnapshotTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("fathom_snapshot_" + std::to_string(getpid()) + "_" + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  static TrainerOptions Options() {
    TrainerOptions options;
    options.schedule = {.kind = ScheduleKind::kCosine, .peak = 1e-2, .warmup_steps = 3, .total_steps = 20};
    options.balance_gamma = 1e-2;
    options.objective.balance = BalanceKind::kSequence;
    return options;
  }
  static std::vector<TrainBatch> Batches(int64_t step) { return {CountingBatch({9, 14}, step, 31, 1), CountingBatch({20}, step + 5, 31, 1)}; }

  fs::path dir_;
};

std::vector<at::Tensor> Everything(Trainer& trainer) {
  std::vector<at::Tensor> all;
  for (const auto& [name, leaf] : trainer.optimizer().leaves()) all.push_back(leaf.detach().clone());
  trainer.optimizer().ForEachState([&](const std::string&, at::Tensor& values) { all.push_back(values.clone()); });
  trainer.model().ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    if (spec.kind == WeightKind::kRouterBias) all.push_back(slot.values.clone());
  });
  return all;
}

TEST_F(SnapshotTest, ResumedEqualsUninterruptedToTheBit) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    fs::remove_all(dir_);
    TinyModel straight{TinyMixture(1), dtype};
    Trainer trainer(straight, Options());
    std::vector<double> losses;
    for (int64_t step = 0; step < 9; ++step) {
      losses.push_back(trainer.Step(Batches(step)).loss);
      if (step == 3) Snapshot::Take(trainer, {{"position", 4}}).Write(dir_);
    }
    TinyModel other{TinyMixture(1), dtype, /*seed=*/99};
    Trainer resumed(other, Options());
    const std::optional<Json> extra = RestoreNewest(dir_, resumed);
    ASSERT_TRUE(extra);
    EXPECT_EQ(extra->at("position"), 4);
    EXPECT_EQ(resumed.step(), 4);
    for (int64_t step = 4; step < 9; ++step) EXPECT_EQ(resumed.Step(Batches(step)).loss, losses[static_cast<size_t>(step)]) << step;
    const auto expected = Everything(trainer), actual = Everything(resumed);
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(ops::IsSame(actual[i], expected[i])) << i;
  }
}

TEST_F(SnapshotTest, PassesOverADamagedOneAndTakesTheOneBefore) {
  TinyModel model{TinyMixture()};
  Trainer trainer(model, Options());
  const auto batch = [](int64_t step) { return std::vector<TrainBatch>{CountingBatch({20}, step, 31)}; };
  for (int64_t step = 1; step <= 3; ++step) {
    trainer.Step(batch(step));
    Snapshot::Take(trainer, {{"at", step}}).Write(dir_);
  }
  const auto snapshots = ListSnapshots(dir_);
  ASSERT_EQ(snapshots.size(), 3u);
  {  // One bit in the middle of the newest, and the second without its last byte.
    std::fstream file(snapshots[2].second / "state.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(5000);
    const char byte = static_cast<char>(file.get() ^ 4);
    file.seekp(5000);
    file.put(byte);
  }
  fs::resize_file(snapshots[1].second / "state.json", 10);
  TinyModel other{TinyMixture(), at::kFloat, 99};
  Trainer resumed(other, Options());
  EXPECT_EQ(RestoreNewest(dir_, resumed)->at("at"), 1);
  EXPECT_EQ(resumed.step(), 1);
}

TEST_F(SnapshotTest, RefusesAnotherModelsStateWithoutTouchingThisOne) {
  TinyModel model{TinyMixture()};
  Trainer trainer(model, Options());
  Snapshot::Take(trainer, {}).Write(dir_);
  ModelConfig config = TinyMixture();
  config.n_routed_experts = 4;
  TinyModel other{config};
  Trainer resumed(other, Options());
  const auto before = Everything(resumed);
  EXPECT_FALSE(RestoreNewest(dir_, resumed));
  const auto after = Everything(resumed);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(ops::IsSame(after[i], before[i]));
  EXPECT_FALSE(RestoreNewest(dir_ / "nothing", resumed));
}

TEST_F(SnapshotTest, WriterKeepsTheLastAndEveryNth) {
  TinyModel model{TinyMixture()};
  Trainer trainer(model, Options());
  {
    SnapshotWriter writer(dir_, {.last = 2, .every = 3});
    for (int64_t step = 1; step <= 7; ++step) {
      trainer.Step({CountingBatch({20}, step, 31)});
      writer.Save(trainer, {});
    }
  }
  std::vector<int64_t> steps;
  for (const auto& [step, folder] : ListSnapshots(dir_)) steps.push_back(step);
  EXPECT_EQ(steps, (std::vector<int64_t>{3, 6, 7}));
  fs::create_directories(dir_ / "step-00000009.tmp-abcdef");  // what kills leave behind
  fs::create_directories(dir_ / "removed-step-00000001");
  SnapshotWriter(dir_, {});
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 3);
}

TEST_F(SnapshotTest, TheWriterCopiesBeforeTrainingGoesOn) {
  TinyModel model{TinyMixture()};
  Trainer trainer(model, Options());
  trainer.Step({CountingBatch({20}, 1, 31)});
  const auto expected = Everything(trainer);
  SnapshotWriter writer(dir_, {});
  writer.Save(trainer, {});
  for (int64_t step = 2; step <= 5; ++step) trainer.Step({CountingBatch({20}, step, 31)});
  writer.Wait();
  TinyModel other{TinyMixture(), at::kFloat, 99};
  Trainer resumed(other, Options());
  ASSERT_TRUE(RestoreNewest(dir_, resumed));
  const auto actual = Everything(resumed);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(ops::IsSame(actual[i], expected[i])) << i;
}

}  // namespace
}  // namespace fathom
