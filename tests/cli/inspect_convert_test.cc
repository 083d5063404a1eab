// inspect and convert through the real binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "cli/program_run.h"
#include "places.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

const fs::path kModels = SourceFolder() / "tests/checkpoint/data/models";
const fs::path kConfigs = SourceFolder() / "tests/model/configs";

class Convert : public ::testing::Test {
 protected:
  TemporaryFolder temporary_;
  const fs::path& folder_ = temporary_.path();
};

TEST(Inspect, CountsDeepSeekV3FromItsConfigurationAlone) {
  const RunResult run = RunFathom({"inspect", (kConfigs / "deepseek-v3.json").string(), "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(std::count(run.out.begin(), run.out.end(), '\n'), 1);
  const Json json = Json::parse(run.out);
  EXPECT_EQ(json["architecture"], "DeepseekV3ForCausalLM");
  EXPECT_EQ(json["parameters"]["total"], 671026419200);
  EXPECT_EQ(json["parameters"]["active"], 37552297472);
  EXPECT_GT(json["parameters"]["mtp"], 0);
  EXPECT_EQ(json["kv"]["values_per_token_per_layer"], 576);
  EXPECT_EQ(json["kv"]["bytes_per_token"], 576 * 61 * 2);
  EXPECT_EQ(json["weights"][0], Json({{"name", "model.embed_tokens.weight"}, {"shape", {129280, 7168}}, {"dtype", "BF16"}}));
  const RunResult text = RunFathom({"inspect", (kConfigs / "deepseek-v3.json").string()});
  EXPECT_THAT(text.out, AllOf(HasSubstr("671.03B, 37.55B active"), HasSubstr("576 values a token a layer")));
}

TEST(Inspect, ShowsWhatTheFilesHold) {
  const RunResult run = RunFathom({"inspect", "--model", (kModels / "deepseek-v3-split.gguf").string(), "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const Json json = Json::parse(run.out);
  bool has_quantised = false;
  for (const Json& weight : json["weights"]) has_quantised = has_quantised || weight["dtype"] == "Q8_0";
  EXPECT_TRUE(has_quantised);
  EXPECT_GT(json["bytes"], 10000);
}

TEST(Inspect, RefusesInOneLine) {
  for (const auto& args : {std::vector<std::string>{"inspect", "/no/such"}, {"inspect", "/no/such.json"}, {"inspect", "a", "--model", "b"},
                           {"inspect", (kModels / "llama-00002-of-00003.gguf").string()}}) {
    const RunResult run = RunFathom(args);
    EXPECT_EQ(run.code, 2);
    EXPECT_EQ(run.out, "");
    EXPECT_TRUE(run.err.starts_with("error: ")) << run.err;
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  }
}

TEST_F(Convert, GoesThroughBothFormatsAndKeepsEveryByte) {
  const std::string gguf = (folder_ / "out.gguf").string(), first = (folder_ / "first").string(), second = (folder_ / "second").string();
  ASSERT_EQ(RunFathom({"convert", (kModels / "deepseek-v3").string(), first, "--dtype", "fp32"}).code, 0);
  ASSERT_EQ(RunFathom({"convert", first, gguf, "--format", "gguf", "--dtype", "fp32"}).code, 0);
  ASSERT_EQ(RunFathom({"convert", gguf, second, "--dtype", "fp32"}).code, 0);
  EXPECT_EQ(ReadFile(fs::path(first) / "model.safetensors"), ReadFile(fs::path(second) / "model.safetensors"));
  EXPECT_TRUE(fs::exists(fs::path(second) / "generation_config.json"));
}

TEST_F(Convert, CopiesTheTokenizer) {
  fs::copy(kModels / "llama", folder_ / "in");
  WriteFileAtomically(folder_ / "in/tokenizer.json", "{\"any\": 1}");
  WriteFileAtomically(folder_ / "in/chat_template.jinja", "{{ x }}");
  ASSERT_EQ(RunFathom({"convert", (folder_ / "in").string(), (folder_ / "out").string(), "--max-shard-size", "4KB"}).code, 0);
  EXPECT_EQ(ReadFile(folder_ / "out/tokenizer.json"), "{\"any\": 1}");
  EXPECT_EQ(ReadFile(folder_ / "out/chat_template.jinja"), "{{ x }}");
  EXPECT_TRUE(fs::exists(folder_ / "out/model.safetensors.index.json"));
}

TEST_F(Convert, RefusesInOneLineAndLeavesNothing) {
  const std::string in = (kModels / "llama").string(), out = (folder_ / "out").string();
  for (const auto& args : {std::vector<std::string>{"convert", in}, {"convert", "/no/such", out}, {"convert", in, out, "--format", "onnx"},
                           {"convert", in, out, "--max-shard-size", "lots"}, {"convert", in, folder_.string() + "/no/such/out"},
                           {"convert", in, in}, {"convert", in, out, "--dtype", "fp8"}}) {
    const RunResult run = RunFathom(args);
    EXPECT_EQ(run.code, 2) << args.back();
    EXPECT_TRUE(run.err.starts_with("error: ")) << run.err;
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace fathom
