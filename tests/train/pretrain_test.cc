// A recipe from text to a saved model: the log, interruption and resumption, and the errors of recipes.
#include "train/pretrain.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "places.h"
#include "text/tokenizer.h"
#include "train/run_plan.h"
#include "train/snapshot.h"

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
evaluate: {every: 3, rows: 2, prompts: ["line 7", "says that"], new_tokens: 5}
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

  std::vector<Json> Log(const std::string& name, const char* file_name = "log.jsonl") const {
    std::vector<Json> lines;
    std::ifstream file(dir_ / name / file_name);
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
  EXPECT_GE(log[2]["mtp_acceptance"].get<double>(), 0);
  EXPECT_LE(log[2]["mtp_acceptance"].get<double>(), 1);
  for (const char* key : {"utilisation", "max_over_mean", "entropy", "bias_min", "bias_max", "dropped", "worst_layer", "max_over_mean_layer", "entropy_layer",
                          "bias_range_layer", "tokens_per_s", "tflop_per_s", "memory_gib"}) {
    EXPECT_TRUE(log[0].contains(key)) << key;
  }
  EXPECT_EQ(Log("run", "samples.jsonl").size(), 4u) << "two prompts, twice";
  EXPECT_EQ(Log("run", "expert_load.jsonl").size(), 6u);
  const std::string report = ReadFile(dir_ / "run" / "report.html");
  for (const char* part : {"<svg", "mixture 1", "line 7", "next token", "sequence_length"}) EXPECT_NE(report.find(part), std::string::npos) << part;
  EXPECT_EQ(report.find("http://", report.find("</svg>")), report.find("http://www.w3.org/2000/svg", report.find("</svg>"))) << "nothing outside the file";
  const Checkpoint checkpoint = Checkpoint::Open(result.model);
  EXPECT_EQ(checkpoint.config.num_hidden_layers, 2);
  EXPECT_NO_THROW(LoadModel(checkpoint, {.dtype = at::kFloat}));
  EXPECT_EQ(Tokenizer::Load(result.model)->vocab_size(), 300);
}

TEST_F(PretrainTest, ResumedEqualsUninterruptedToTheBitWhereverItStopped) {
  Run("straight", false);
  const std::vector<Json> expected = Log("straight");
  const std::vector<Json> samples = Log("straight", "samples.jsonl");
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
    EXPECT_EQ(Log(name, "samples.jsonl"), samples) << name;
  }
}

TEST_F(PretrainTest, ResumeWithoutASnapshotStartsAfreshAndAFullFolderIsRefused) {
  fs::create_directories(dir_ / "run");
  std::ofstream(dir_ / "run" / "notes.txt") << "mine";
  EXPECT_THROW(Run("run", false), UserError);
  EXPECT_TRUE(Run("run", true).finished);
  EXPECT_EQ(Log("run").size(), 6u);
}

// Everything that a run keeps, with Muon and an average besides.
TEST_F(PretrainTest, ResumesMuonTheAverageAndExportsIt) {
  const std::vector<std::string> set = {"optimizer.kind=muon", "optimizer.average=0.9"};
  const PretrainResult straight = Run("straight", false, -1, set);
  EXPECT_FALSE(Run("parts", false, 3, set).finished);
  EXPECT_TRUE(Run("parts", true, -1, set).finished);
  EXPECT_EQ(ReadFile(dir_ / "parts/model/model.safetensors"), ReadFile(dir_ / "straight/model/model.safetensors"));
  const std::string average = ReadFile(dir_ / "straight/model-average/model.safetensors");
  EXPECT_EQ(ReadFile(dir_ / "parts/model-average/model.safetensors"), average);
  EXPECT_NE(average, ReadFile(dir_ / "straight/model/model.safetensors"));
  const PretrainOptions options{.out = dir_ / "straight"};
  const Recipe recipe = ParseRecipe(ReadRecipe(set), (dir_ / "straight/tokenizer").string(), 300);
  EXPECT_EQ(ExportRun(recipe, options, true, dir_ / "exported").step, 6);
  EXPECT_EQ(ReadFile(dir_ / "exported/model.safetensors"), average);
  EXPECT_EQ(Tokenizer::Load(dir_ / "exported")->vocab_size(), 300);
  const Recipe plain = ParseRecipe(ReadRecipe(), (dir_ / "straight/tokenizer").string(), 300);
  EXPECT_THROW(ExportRun(plain, options, true, dir_ / "again"), UserError);
}

TEST_F(PretrainTest, AStopWhileItTokenisesOrTrainsTheTokenizerIsInterruptedAndGoesOn) {
  for (int asked_before = 0; asked_before < 3; ++asked_before) {
    int num_asked = 0;
    const PretrainOptions options{.out = dir_ / "run", .resume = asked_before > 0, .stop = [&] { return num_asked++ >= asked_before; }};
    PrepareRunFolder(options.out, options.resume);
    const Yaml yaml = ReadRecipe();
    EXPECT_THROW(
        {
          const fs::path tokenizer = PrepareTokenizer(yaml, options);
          Pretrain(ParseRecipe(yaml, tokenizer.string(), 300), {.out = options.out, .stop = [] { return true; }}, [](const StepReport&) {});
        },
        Interrupted);
  }
  EXPECT_TRUE(Run("run", true).finished);
}

TEST_F(PretrainTest, AMissingFileOfTheDataIsOneClearErrorAndTheCheckpointStays) {
  EXPECT_FALSE(Run("run", false, 2).finished);
  fs::remove(dir_ / "text.txt");  // its tokens are there: the run needs it no more
  EXPECT_FALSE(Run("run", true, 4).finished);
  fs::path shard;
  for (const auto& entry : fs::recursive_directory_iterator(dir_ / "run/tokens")) {
    if (entry.is_regular_file() && entry.path().extension() != ".json" && entry.path().extension() != ".jsonl") shard = entry.path();
  }
  ASSERT_FALSE(shard.empty());
  fs::remove(shard);
  try {
    Run("run", true);
    ADD_FAILURE() << "no error";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(shard.filename().string()), std::string::npos) << error.what();
  }
  const auto snapshots = ListSnapshots(dir_ / "run/checkpoints");
  ASSERT_FALSE(snapshots.empty());
  EXPECT_EQ(snapshots.back().first, 4);
}

TEST_F(PretrainTest, AFullDiskEndsTheRunAndTheLastCheckpointIsWhole) {
  EXPECT_FALSE(Run("run", false, 3).finished);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100000, before.rlim_max};  // no file may grow beyond it: what a write meets on a full disk
  ::setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THROW(Run("run", true), MachineError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(ListSnapshots(dir_ / "run/checkpoints").back().first, 3);
  EXPECT_TRUE(Run("run", true).finished);
}

TEST_F(PretrainTest, DataWithoutTextIsOneClearError) {
  std::ofstream(dir_ / "text.txt", std::ios::trunc) << "";
  EXPECT_THROW(Run("empty", false), UserError);
  std::ofstream(dir_ / "text.txt", std::ios::trunc | std::ios::binary) << std::string(5000, '\0') + "\xff\xfe\x80";
  EXPECT_THROW(Run("binary", false), UserError);
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
  ExpectError(ReadRecipe({"train.dtype=int8"}), "fp32, bf16, fp16 or fp8");
  ExpectError(ReadRecipe({"optimizer.kind=sgd"}), "adamw or muon");
  ExpectError(ReadRecipe({"evaluate.promts=[a]"}), "did you mean 'prompts'?");
  ExpectError(Yaml::Parse("model: {depth: 2}\ndata: {sources: [x]}\ntrain:\n  step: 3\n", "r.yaml"), "r.yaml:4: train.step: unknown key (did you mean 'steps'?)");
  ExpectError(Yaml::Parse("model:\n  model_type: deepseek_v3\n  hiden_size: 3\ndata: {sources: [x]}\n", "r.yaml"), "r.yaml:3: model.hiden_size: unknown key (did you mean 'hidden_size'?)");
  ExpectError(ReadRecipe({"model.vocab_size=200"}), "300");
  EXPECT_THROW(ReadRecipe({"train.steps"}), UserError);
}

TEST_F(PretrainTest, EveryRecipeOfTheProjectIsValid) {
  int64_t num_recipes = 0;
  for (const auto& entry : fs::directory_iterator(SourceFolder() / "recipes")) {
    const Yaml yaml = WithSettings(Yaml::ReadFile(entry.path()), {}, {"text.txt"});
    const auto tokenizer = yaml.Find("tokenizer");
    const int64_t vocab_size = tokenizer && tokenizer->is_map() ? tokenizer->Get("vocab_size").AsInt() : 128815;
    const Recipe recipe = ParseRecipe(yaml, "tokenizer", vocab_size);
    EXPECT_GT(PlanRun(recipe, {}).flop(), 0) << entry.path();
    ++num_recipes;
  }
  EXPECT_GE(num_recipes, 4);
}

TEST_F(PretrainTest, ThePlanOfV3IsWhatItsReportSays) {
  const Recipe recipe = ParseRecipe(WithSettings(Yaml::ReadFile(SourceFolder() / "recipes/v3-671b.yaml"), {}, {"text.txt"}), "tokenizer", 128815);
  const RunPlan plan = PlanRun(recipe, {.num_devices = 2048});
  EXPECT_NEAR(static_cast<double>(plan.parameters), 671.03e9, 0.01e9);
  EXPECT_NEAR(static_cast<double>(plan.active_parameters), 37.55e9, 0.01e9);
  EXPECT_NEAR(plan.tokens, 14.8e12, 0.05e12);
  EXPECT_EQ(recipe.RowsAt(1), 3072);
  EXPECT_DOUBLE_EQ(recipe.trainer.schedule.At(3000), 2.2e-4);
  EXPECT_DOUBLE_EQ(recipe.trainer.schedule.At(recipe.steps), 7.3e-6);
  EXPECT_EQ(recipe.trainer.mtp_weight(1), 0.3);
  EXPECT_EQ(recipe.trainer.mtp_weight(recipe.steps), 0.1);
}

TEST_F(PretrainTest, TheRoutersTemperatureFallsFromOneToATenth) {
  const Recipe recipe = ParseRecipe(ReadRecipe({"train.steps=91", "objective.temperature_first=1.0", "objective.temperature_last=0.1"}), "tokenizer", 300);
  EXPECT_DOUBLE_EQ(recipe.trainer.router_temperature(1), 1.0);
  EXPECT_DOUBLE_EQ(recipe.trainer.router_temperature(31), 0.7);
  EXPECT_DOUBLE_EQ(recipe.trainer.router_temperature(91), 0.1);
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
