// fathom pretrain through the real binary: killed, interrupted, resumed, exported, planned.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <sstream>

#include "base/file.h"
#include "base/json.h"
#include "cli/program_run.h"
#include "places.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class PretrainCli : public ::testing::Test {
 protected:
  PretrainCli() {
    std::string text;
    for (int i = 0; i < 300; ++i) text += "the line " + std::to_string(i) + " says " + std::to_string(i * 7 % 13) + " and no more than that\n";
    WriteFileAtomically(Path("text.txt"), text);
    WriteFileAtomically(Path("recipe.yaml"), "model: {depth: 2}\ntokenizer: {vocab_size: 300}\ndata: {held_out: 0.1, sources: [{path: " + Path("text.txt") +
                                                 ", documents: line}]}\ntrain: {steps: 40, batch_size: 2, sequence_length: 32, dtype: fp32}\n"
                                                 "checkpoint: {every: 3, keep_last: 2}\nevaluate: {every: 7, rows: 2}\n");
  }
  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::vector<std::string> Args(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {"pretrain", "--recipe", Path("recipe.yaml"), "--out", Path(out), "--device", "cpu", "--threads", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  // (step, loss, gradients' norm) of each line, as they were written.
  std::vector<std::string> Series(const std::string& out) const {
    std::vector<std::string> series;
    std::istringstream lines(ReadFile(Path(out) + "/log.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const Json json = Json::parse(line);
      series.push_back(json["step"].dump() + " " + json["loss"].dump() + " " + json["grad_norm"].dump());
    }
    return series;
  }

  TemporaryFolder folder_;
};

TEST_F(PretrainCli, KilledAndInterruptedRunsGoOnToTheSameBits) {
  const RunResult straight = RunFathom(Args("straight"));
  ASSERT_EQ(straight.code, 0) << straight.err;
  EXPECT_THAT(straight.out, HasSubstr("held out: loss"));
  EXPECT_EQ(straight.out.find("[#"), std::string::npos) << "a bar is for terminals alone";
  for (const char* moment : {"step  2/40", "step  8/40", "step 10/40"}) {
    RunningFathom run(Args("killed", {"--resume"}), false);
    run.ReadUntil(moment);
    run.Signal(SIGKILL);
    EXPECT_EQ(run.Wait(), 128 + SIGKILL);
  }
  {
    RunningFathom run(Args("killed", {"--resume"}), false);
    run.ReadUntil("step 11/40");
    run.Signal(SIGINT);
    EXPECT_EQ(run.Wait(), 130);
    EXPECT_THAT(run.rest(), HasSubstr("--resume goes on from there"));
  }
  const RunResult resumed = RunFathom({"pretrain", "--resume", "--out", Path("killed"), "--device", "cpu", "--threads", "1"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(resumed.err, "");
  EXPECT_EQ(Series("killed"), Series("straight"));
  EXPECT_EQ(ReadFile(Path("killed/model/model.safetensors")), ReadFile(Path("straight/model/model.safetensors")));
}

TEST_F(PretrainCli, AnInterruptWhileItReadsTheDataIs130AndResumeGoesOn) {
  std::string text;
  for (int64_t i = 0; i < 400'000; ++i) text += "word" + std::to_string(i * 7919 % 100'003) + " of the line " + std::to_string(i) + "\n";
  WriteFileAtomically(Path("text.txt"), text);
  for (const char* moment : {"counting words", "tokenizing"}) {
    RunningFathom run(Args("run", {"--resume", "--set", "train.steps=2"}), true);
    run.ReadUntil(moment);
    run.Signal(SIGINT);
    EXPECT_EQ(run.Wait(), 130) << moment;
  }
}

TEST_F(PretrainCli, ExportsTheNewestCheckpointOnDemand) {
  ASSERT_EQ(RunFathom(Args("run", {"--set", "train.steps=4", "optimizer.average=0.5"})).code, 0);
  const RunResult exported = RunFathom({"pretrain", "--out", Path("run"), "--export", Path("now"), "--average", "--device", "cpu"});
  EXPECT_EQ(exported.code, 0) << exported.err;
  EXPECT_THAT(exported.out, HasSubstr("of step 4"));
  const RunResult generated = RunFathom({"generate", "--model", Path("now"), "--prompt", "the line", "--max-new-tokens", "3", "--device", "cpu", "--json"});
  EXPECT_EQ(generated.code, 0) << generated.err;
  EXPECT_EQ(RunFathom({"pretrain", "--out", Path("run"), "--export", Path("now")}).code, 2) << "the folder is not empty";
}

TEST_F(PretrainCli, APlanNeedsNoDataAndNoFolder) {
  const RunResult plan = RunFathom({"pretrain", "--recipe", (SourceFolder() / "recipes/v3-671b.yaml").string(), "--plan", "--devices", "2048"});
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("671.03B"));
  EXPECT_THAT(plan.out, HasSubstr("14.80T tokens"));
  EXPECT_THAT(plan.out, HasSubstr("days on 2048 devices"));
}

TEST_F(PretrainCli, AWrongRecipeIsOneLineWithTheLineAndTheNearestKey) {
  WriteFileAtomically(Path("recipe.yaml"), "model: {depth: 2}\ntokenizer: {vocab_size: 300}\ndata: {sources: [" + Path("text.txt") + "]}\ntrain:\n  batchsize: 2\n");
  const RunResult result = RunFathom(Args("run"));
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("recipe.yaml:5: train.batchsize: unknown key (did you mean 'batch_size'?)"));
}

}  // namespace
}  // namespace fathom
