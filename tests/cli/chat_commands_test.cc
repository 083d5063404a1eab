// The commands of a piped chat, one a line: answers on stdout, what is told on stderr.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "cli/program_run.h"
#include "cli/tiny_model.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ChatCommands : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = new TemporaryFolder;
    WriteTinyModel(root_->path() / "tiny", 2000, false);
  }
  static void TearDownTestSuite() {
    delete root_;
  }
  static std::string Path(const std::string& name) { return (root_->path() / name).string(); }
  static RunResult Chat(const std::string& lines, std::vector<std::string> more = {}) {
    std::vector<std::string> args = {"chat", "--model", Path("tiny"), "--max-new-tokens", "12", "--seed", "3"};
    args.insert(args.end(), more.begin(), more.end());
    return RunFathom(args, lines);
  }
  static std::string Answer(const Json& talk, size_t message) { return talk["messages"][message]["content"].get<std::string>(); }

 private:
  static TemporaryFolder* root_;
};
TemporaryFolder* ChatCommands::root_ = nullptr;

TEST_F(ChatCommands, RegenAnswersTheLastQuestionAgainWithOtherRandomNumbers) {
  const std::string first = Path("first.json"), second = Path("second.json");
  const RunResult run = Chat("hello\n/save " + first + "\n/regen\n/save " + second + "\n", {"--temperature", "2"});
  ASSERT_EQ(run.code, 0) << run.err;
  const Json before = ReadJsonFile(first), after = ReadJsonFile(second);
  ASSERT_EQ(before["messages"].size(), 2u);
  ASSERT_EQ(after["messages"].size(), 2u) << "the new answer takes the old one's place";
  EXPECT_EQ(after["messages"][0], before["messages"][0]);
  EXPECT_NE(Answer(after, 1), Answer(before, 1));
  EXPECT_EQ(run.out, Answer(before, 1) + "\n" + Answer(after, 1) + "\n");
}

TEST_F(ChatCommands, ALoadedConversationGoesOnAsIfItHadNotStopped) {
  const std::string half = Path("half.json"), whole = Path("whole.json"), resumed = Path("resumed.json");
  const std::vector<std::string> greedy = {"--temperature", "0", "--system", "S"};
  ASSERT_EQ(Chat("one\n/save " + half + "\ntwo\n/save " + whole + "\n", greedy).code, 0);
  const RunResult run = Chat("/load " + half + "\ntwo\n/save " + resumed + "\n", {"--temperature", "0"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(ReadJsonFile(half)["messages"].size(), 3u);
  EXPECT_EQ(ReadJsonFile(resumed), ReadJsonFile(whole));
  EXPECT_EQ(run.out, Answer(ReadJsonFile(whole), 4) + "\n");
  EXPECT_THAT(run.err, HasSubstr("1 turns loaded from " + half));
}

TEST_F(ChatCommands, ResetForgetsTheTurnsAndKeepsTheSystemPrompt) {
  const std::string saved = Path("reset.json");
  const RunResult run = Chat("one\n/reset\n/system\n/save " + saved + "\n", {"--system", "be brief"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(ReadJsonFile(saved)["messages"], Json::parse(R"([{"role": "system", "content": "be brief"}])"));
  EXPECT_THAT(run.err, HasSubstr("\nbe brief\n"));
}

TEST_F(ChatCommands, ANewSystemPromptBeginsTheConversationAnew) {
  const std::string saved = Path("system.json");
  const RunResult run = Chat("one\n/system be long\ntwo\n/save " + saved + "\n", {"--system", "be brief"});
  ASSERT_EQ(run.code, 0) << run.err;
  const Json talk = ReadJsonFile(saved);
  ASSERT_EQ(talk["messages"].size(), 3u);
  EXPECT_EQ(Answer(talk, 0), "be long");
  EXPECT_EQ(Answer(talk, 1), "two");
}

TEST_F(ChatCommands, ThinkTurnsTheSwitchOfTheTemplate) {
  fs::copy(Path("tiny"), Path("thinker"), fs::copy_options::recursive);
  EditJson(Path("thinker") + "/tokenizer_config.json",
           {{"chat_template", "{{ raise_exception('thinking: ' ~ thinking ~ ', enable_thinking: ' ~ enable_thinking) }}"}});
  const auto says = [](const std::string& lines) { return RunFathom({"chat", "--model", Path("thinker")}, lines + "hello\n").err; };
  EXPECT_THAT(says("/think on\n"), HasSubstr("thinking: True, enable_thinking: True"));
  EXPECT_THAT(says("/think\n"), HasSubstr("thinking: True, enable_thinking: True"));
  EXPECT_THAT(says("/think on\n/think off\n"), HasSubstr("thinking: False, enable_thinking: False"));
  EXPECT_THAT(says("/think\n/think\n"), HasSubstr("thinking: False, enable_thinking: False"));
  EXPECT_THAT(says(""), HasSubstr("thinking: , enable_thinking:\n")) << "without the command the template's own default holds";
}

TEST_F(ChatCommands, AWrongCommandOfAScriptIsOneLineAndExitCodeTwo) {
  WriteFileAtomically(Path("null.json"), R"([{"role": "system", "content": null}])");
  WriteFileAtomically(Path("role.json"), R"([{"role": 1, "content": "a"}])");
  WriteFileAtomically(Path("cut.json"), R"([{"role": )");
  const std::vector<std::pair<std::string, std::string>> table = {
      {"/regen", "error: there is no question to answer again\n"},
      {"/save", "error: /save needs a file, got none\n"},
      {"/load", "error: /load needs a file, got none\n"},
      {"/load /no/such", "error: cannot open /no/such: No such file or directory\n"},
      {"/load " + Path("null.json"), "error: " + Path("null.json") + ": message 0 must have a text as \"content\"\n"},
      {"/load " + Path("role.json"), "error: " + Path("role.json") + ": message 0 must be an object with a text as \"role\"\n"},
      {"/think maybe", "error: /think takes on or off, got 'maybe'\n"},
  };
  for (const auto& [line, error] : table) {
    const RunResult run = Chat(line + "\nnever said\n");
    EXPECT_EQ(run.code, 2) << line;
    EXPECT_EQ(run.out, "") << line;
    EXPECT_EQ(run.err, error);
  }
  EXPECT_THAT(Chat("/load " + Path("cut.json") + "\n").err, HasSubstr("cut.json: not valid JSON"));
  const RunResult unwritable = Chat("/save /no/such/folder/talk.json\n");
  EXPECT_EQ(unwritable.code, 1);
  EXPECT_THAT(unwritable.err, HasSubstr("error: cannot create /no/such/folder/talk.json: No such file"));
}

}  // namespace
}  // namespace fathom
