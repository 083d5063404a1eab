// A recipe from text to a saved model: the log, interruption and resumption, and the errors of recipes.
#include "train/pretrain.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecipe = R"(
model: {depth: 2, mtp_depths: 1}
tokenizer: {vocab_size: 300}
data: {held_out: 0.1, sources: [{path: TEXT, documents: line}]}
train: {steps: 6, batch_size: 4, microbatch_size: 2, sequence_length: 24, dtype: fp32, seed: 7}
optimizer: {lr: 5.0e-3, schedule: cosine, warmup_steps: 2}
checkpoint: {every: 2, keep_last: 2}
evaluate: {every: 3, rows: 2}
)";

class PretrainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("fathom_pretrain_" + std::to_string(getpid()) + "_" + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    std::ofstream text(dir_ / "text.txt");
    for (int i = 0; i < 200; ++i) text << "line " << i << " says that " << i * 7 % 13 << " follows " << i * 5 % 11 << " and nothing else\n";
  }
  void TearDown() override { fs::remove_all(dir_); }

  Yaml ReadRecipe(const std::vector<std::string>& set = {}) const {
    std::string text = kRecipe;
    text.replace(text.find("TEXT"), 4, (dir_ / "text.txt").string());
    return WithSettings(Yaml::Parse(text, "recipe.yaml"), set, {});
  }

  PretrainResult Run(const std::string& name, bool resume, int64_t stop_after = -1, const std::vector<std::string>& set = {}) const {
    int64_t done = 0;
    const PretrainOptions options{.out = dir_ / name, .resume = resume, .stop = [&] { return stop_after >= 0 && done >= stop_after; }};
    PrepareRunFolder(options.out, resume);
    const Yaml yaml = ReadRecipe(set);
    const fs::path tokenizer = PrepareTokenizer(yaml, options);
    const Recipe recipe = ParseRecipe(yaml, tokenizer.string(), Tokenizer::Load(tokenizer)->vocab_size());
    return Pretrain(recipe, options, [&](const StepReport& report) { done = report.metrics.step; });
  }

  std::vector<Json> Log(const std::string& name) const {
    std::vector<Json> lines;
    std::ifstream file(dir_ / name / "log.jsonl");
    for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
    return lines;
  }

  fs::path dir_;
};

TEST_F(PretrainTest, ALogLineAStepAndAModelAtTheEnd) {
  const PretrainResult result = Run("run", false);
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.last_step, 6);
  const std::vector<Json> log = Log("run");
  ASSERT_EQ(log.size(), 6u);
  for (size_t i = 0; i < log.size(); ++i) {
    EXPECT_EQ(log[i]["step"], i + 1);
    EXPECT_GT(log[i]["loss"].get<double>(), 0);
    EXPECT_GT(log[i]["mtp_loss"].get<double>(), 0);
    EXPECT_GT(log[i]["worst_utilisation"].get<double>(), 0);
  }
  EXPECT_LT(log[5]["loss"].get<double>(), log[0]["loss"].get<double>());
  EXPECT_TRUE(log[2].contains("bits_per_byte"));
  EXPECT_FALSE(log[1].contains("bits_per_byte"));
  const Checkpoint checkpoint = Checkpoint::Open(result.model);
  EXPECT_EQ(checkpoint.config.num_hidden_layers, 2);
  EXPECT_NO_THROW(LoadModel(checkpoint, {.dtype = at::kFloat}));
  EXPECT_EQ(Tokenizer::Load(result.model)->vocab_size(), 300);
}

TEST_F(PretrainTest, ResumedEqualsUninterruptedToTheBitWhereverItStopped) {
  Run("straight", false);
  const std::vector<Json> expected = Log("straight");
  EXPECT_FALSE(Run("stopped", false, 3).finished);
  EXPECT_TRUE(Run("stopped", true).finished);
  // A run that died between snapshots: its log is ahead of its newest whole snapshot, with half a line at the end.
  EXPECT_FALSE(Run("killed", false, 5).finished);
  for (const char* step : {"step-00000005"}) fs::remove_all(dir_ / "killed" / "checkpoints" / step);
  std::ofstream(dir_ / "killed" / "log.jsonl", std::ios::app) << R"({"step": 6, "lo)";
  EXPECT_TRUE(Run("killed", true).finished);
  for (const char* name : {"stopped", "killed"}) {
    const std::vector<Json> log = Log(name);
    ASSERT_EQ(log.size(), expected.size()) << name;
    for (size_t i = 0; i < log.size(); ++i) {
      for (const char* key : {"step", "loss", "mtp_loss", "grad_norm", "lr"}) EXPECT_EQ(log[i][key], expected[i][key]) << name << " step " << i + 1;
    }
  }
}

TEST_F(PretrainTest, ResumeWithoutASnapshotStartsAfreshAndAFullFolderIsRefused) {
  fs::create_directories(dir_ / "run");
  std::ofstream(dir_ / "run" / "notes.txt") << "mine";
  EXPECT_THROW(Run("run", false), UserError);
  EXPECT_TRUE(Run("run", true).finished);
  EXPECT_EQ(Log("run").size(), 6u);
}

void ExpectError(const Yaml& yaml, const std::string& part) {
  try {
    ParseRecipe(yaml, "tokenizer", 300);
    ADD_FAILURE() << "no error; expected: " << part;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST_F(PretrainTest, AWrongRecipeIsOneLineThatNamesThePlaceAndTheRule) {
  ExpectError(ReadRecipe({"train.stesp=3"}), "steps");
  ExpectError(ReadRecipe({"train.steps=0"}), "train.steps");
  ExpectError(ReadRecipe({"optimizer.schedule=linear"}), "constant, cosine, wsd or v3");
  ExpectError(ReadRecipe({"objective.balance=all"}), "none, sequence or batch");
  ExpectError(ReadRecipe({"train.dtype=int8"}), "fp32 or bf16");
  ExpectError(ReadRecipe({"model.vocab_size=200"}), "300");
  EXPECT_THROW(ReadRecipe({"train.steps"}), UserError);
}

TEST_F(PretrainTest, TheBatchGrowsAlongItsRamp) {
  Recipe recipe;
  recipe.batch_size = 40;
  recipe.first_batch_size = 8;
  recipe.batch_ramp_steps = 4;
  EXPECT_EQ(recipe.RowsAt(1), 8);
  EXPECT_EQ(recipe.RowsAt(3), 24);
  EXPECT_EQ(recipe.RowsAt(5), 40);
}

}  // namespace
}  // namespace fathom
