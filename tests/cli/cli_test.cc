// The program's contract from outside: exit codes, one line on an error, JSON and nothing else on stdout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <sstream>

#include "base/file.h"
#include "base/json.h"
#include "cli/program_run.h"
#include "cli/tiny_model.h"
#include "places.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// One folder for the whole suite: tiny (Llama), deepseek (V3 with MTP), and broken copies.
class Cli : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = new TemporaryFolder;
    WriteTinyModel(root_->path() / "tiny", 200, false);
    WriteTinyModel(root_->path() / "long", 200000, false);
    WriteTinyModel(root_->path() / "deepseek", 200, true);
    WriteFileAtomically(root_->path() / "messages.json", R"([{"role":"user","content":"hi"}])");
    WriteFileAtomically(root_->path() / "bad.json", R"([{"role": )");
  }
  static void TearDownTestSuite() {
    delete root_;
  }
  static std::string Path(const std::string& name) { return (root_->path() / name).string(); }
  // A copy of the tiny model to break.
  static fs::path Copy(const std::string& name) {
    fs::copy(root_->path() / "tiny", root_->path() / name, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    return root_->path() / name;
  }
  static RunResult Generate(std::vector<std::string> more, const std::string& model = "tiny") {
    std::vector<std::string> args = {"generate", "--model", Path(model)};
    args.insert(args.end(), more.begin(), more.end());
    return RunFathom(args);
  }
  static Json GenerateJson(std::vector<std::string> more, const std::string& model = "tiny") {
    more.push_back("--json");
    const RunResult result = Generate(more, model);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return Json::parse(result.out, nullptr, false);
  }

 private:
  static TemporaryFolder* root_;
};
TemporaryFolder* Cli::root_ = nullptr;

TEST_F(Cli, EveryWrongUseIsOneClearLineAndItsExitCode) {
  const std::string tiny = Path("tiny");
  const auto cut = Copy("cut");
  fs::resize_file(cut / "model.safetensors", fs::file_size(cut / "model.safetensors") - 100);
  const auto lying = Copy("lying");
  std::string bytes = ReadFile(lying / "model.safetensors");
  bytes[6] = 1;  // the header's length
  WriteFileAtomically(lying / "model.safetensors", bytes);
  EditJson(Copy("unknown") / "config.json", {{"architectures", {"FooForCausalLM"}}, {"model_type", "foo"}});
  EditJson(Copy("rope") / "config.json", {{"rope_scaling", {{"type", "spiral"}, {"factor", 2.0}}}, {"rope_parameters", nullptr}});
  EditJson(Copy("shape") / "config.json", {{"intermediate_size", 41}});
  WriteFileAtomically(Copy("config") / "config.json", "{");
  EditJson(Copy("template") / "tokenizer_config.json", {{"chat_template", "{% for x in %}"}});
  EditJson(Copy("raises") / "tokenizer_config.json", {{"chat_template", "a\n{{ raise_exception('no') }}"}});
  EditJson(Copy("plain") / "tokenizer_config.json", {{"chat_template", nullptr}});
  EditJson(Copy("huge") / "config.json", {{"num_hidden_layers", 10000}, {"intermediate_size", 1000000}});
  fs::remove(Copy("weightless") / "model.safetensors");
  WriteFileAtomically(Path("cut.gguf"), "GGUF\x03");
  WriteFileAtomically(Path("empty.txt"), "");
  const std::string messages = Path("messages.json"), bad = Path("bad.json");

  struct WrongUse {
    std::vector<std::string> args;
    int code;
    const char* pattern;  // of the whole line after "error: "
  };
  const std::vector<WrongUse> table = {
      {{}, 2, ".*verb is missing.*"},
      {{"genrate"}, 2, "unknown verb 'genrate' \\(did you mean 'generate'\\?\\).*"},
      {{"--threads", "2"}, 2, ".*verb comes first, got '--threads'.*"},
      {{"generate", "--temprature", "1"}, 2, "unknown flag --temprature of `fathom generate` \\(did you mean --temperature\\?\\)"},
      {{"generate", "--prompt"}, 2, "--prompt needs a value, got none"},
      {{"generate", "--prompt", "a", "--prompt", "b"}, 2, "--prompt may be given once.*"},
      {{"generate", "--json=yes"}, 2, "--json takes no value, got 'yes'"},
      {{"generate", "stray"}, 2, "unexpected argument 'stray'.*"},
      {{"generate", "--model", "/no/such/model", "--prompt", "a"}, 2, "--model '/no/such/model': no such.*"},
      {{"generate", "--model", bad, "--prompt", "a"}, 2, "--model '.*bad.json'.*"},
      {{"generate", "--model", Path("cut"), "--prompt", "a"}, 2, ".*model.safetensors.*"},
      {{"generate", "--model", Path("lying"), "--prompt", "a"}, 2, ".*model.safetensors.*"},
      {{"generate", "--model", Path("unknown"), "--prompt", "a"}, 2, ".*[Ff]oo.*"},
      {{"generate", "--model", Path("rope"), "--prompt", "a"}, 2, ".*spiral.*"},
      {{"generate", "--model", Path("shape"), "--prompt", "a"}, 2, ".*(gate|up|down)_proj.*41.*"},
      {{"generate", "--model", Path("config"), "--prompt", "a"}, 2, ".*config.json.*JSON.*"},
      {{"generate", "--model", Path("weightless"), "--prompt", "a"}, 2, ".*weights.*"},
      {{"generate", "--model", Path("cut.gguf"), "--prompt", "a"}, 2, ".*cut.gguf.*"},
      {{"generate", "--model", tiny, "--prompt", std::string(201, 'x')}, 2, ".*201 tokens.*context of 200"},
      {{"generate", "--model", tiny, "--tokens", "1,257"}, 2, "token 257.*out of range.*0 to 256"},
      {{"generate", "--model", tiny, "--tokens", "1,x"}, 2, ".*--tokens must be an integer.*'x'"},
      {{"generate", "--model", tiny, "--tokens", ""}, 2, "--tokens.*at least one.*"},
      {{"generate", "--model", tiny, "--prompt", ""}, 2, "--prompt must not be empty.*"},
      {{"generate", "--model", tiny, "--prompt-file", Path("empty.txt")}, 2, "--prompt-file .*empty.txt: the file is empty"},
      {{"generate", "--model", tiny, "--prompt-file", "/no/file"}, 2, ".*/no/file.*"},
      {{"generate", "--model", tiny}, 2, "give exactly one of --prompt.*got 0"},
      {{"generate", "--model", tiny, "--prompt", "a", "--tokens", "1"}, 2, "give exactly one of --prompt.*got 2"},
      {{"generate", "--model", tiny, "--prompt", "a", "--dtype", "int3"}, 2, "--dtype must be auto, bf16, fp16 or fp32, got 'int3'"},
      {{"generate", "--model", tiny, "--prompt", "a", "--device", "tpu"}, 2, "--device must be.*'tpu'"},
      {{"generate", "--model", tiny, "--prompt", "a", "--temperature", "hot"}, 2, "--temperature must be a number, got 'hot'"},
      {{"generate", "--model", tiny, "--prompt", "a", "--temperature", "-1"}, 2, "--temperature must be at least 0, got -1"},
      {{"generate", "--model", tiny, "--prompt", "a", "--top-p", "1.5"}, 2, "--top-p must be at most 1, got 1.5"},
      {{"generate", "--model", tiny, "--prompt", "a", "--n", "0"}, 2, "--n must be an integer from 1.*got '0'"},
      {{"generate", "--model", tiny, "--prompt", "a", "--max-new-tokens", "many"}, 2, "--max-new-tokens must be an integer.*'many'"},
      {{"generate", "--model", tiny, "--prompt", "a", "--threads", "0"}, 2, "--threads must be.*'0'"},
      {{"generate", "--model", tiny, "--prompt", "a", "--seed", "-1"}, 2, "--seed must be.*'-1'"},
      {{"generate", "--model", tiny, "--prompt", "a", "--log-level", "loud"}, 2, "--log-level must be.*'loud'"},
      {{"generate", "--model", tiny, "--messages", bad}, 2, ".*bad.json: not valid JSON.*"},
      {{"generate", "--model", tiny, "--messages", messages, "--template-args", "[1]"}, 2, "--template-args must be a JSON object.*"},
      {{"generate", "--model", tiny, "--prompt", "a", "--tools", bad}, 2, "--tools .* for --messages.*"},
      {{"generate", "--model", Path("template"), "--messages", messages}, 2, ".*line 1.*"},
      {{"generate", "--model", Path("raises"), "--messages", messages}, 2, ".*line 2.*no.*"},
      {{"generate", "--model", Path("plain"), "--messages", messages}, 2, ".*no chat template.*"},
      {{"score", "--model", tiny}, 2, "give exactly one of --text.*"},
      {{"score", "--model", tiny, "--text", "ab", "--logits-out", "/no/folder/x.safetensors"}, 2, "--logits-out.*no folder.*"},
      {{"models", "path", "nobody"}, 2, ".*'nobody'.*not in the catalogue.*"},
      {{"bench", "sleep"}, 2, ".*'sleep'.*"},
      {{"bench", "decode", "--config", Path("huge") + "/config.json"}, 1, "not enough memory.*"},
  };
  EXPECT_GE(table.size(), 20u);
  for (const WrongUse& wrong : table) {
    std::string command = "fathom";
    for (const std::string& arg : wrong.args) command += " " + arg.substr(0, 60);
    SCOPED_TRACE(command);
    const RunResult result = RunFathom(wrong.args);
    EXPECT_EQ(result.code, wrong.code);
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(std::regex_match(result.err, std::regex("error: " + std::string(wrong.pattern) + "\n"))) << result.err;
  }
}

TEST_F(Cli, AskingForCudaWhereNoneIsIsAUserError) {
  if (fs::exists("/dev/nvidiactl")) GTEST_SKIP() << "this machine has a device";
  const RunResult result = Generate({"--prompt", "a", "--device", "cuda"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("error: --device cuda: no CUDA device can be used: "));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
}

TEST_F(Cli, HelpAndVersionGoToStdoutWithExitCodeZero) {
  for (const auto& args : std::vector<std::vector<std::string>>{{"help"}, {"--help"}, {"-h"}}) {
    const RunResult result = RunFathom(args);
    EXPECT_EQ(result.code, 0);
    EXPECT_EQ(result.err, "");
    for (const char* verb : {"chat", "generate", "score", "models", "bench", "doctor"}) EXPECT_THAT(result.out, HasSubstr(verb));
  }
  const RunResult generate = RunFathom({"generate", "--help"});
  EXPECT_THAT(generate.out, HasSubstr("Examples:\n  fathom generate"));
  EXPECT_EQ(RunFathom({"help", "generate"}).out, generate.out);
  EXPECT_TRUE(std::regex_match(RunFathom({"--version"}).out, std::regex("fathom [0-9]+\\.[0-9]+\\.[0-9]+\n")));
}

TEST_F(Cli, EveryVerbShowsHelpWithExamples) {
  const std::string overview = RunFathom({"help"}).out;
  std::regex line("\n  ([a-z]+) +[^\n]+");
  int num_verbs = 0;
  for (std::sregex_iterator it(overview.begin(), overview.end(), line), end; it != end; ++it, ++num_verbs) {
    const RunResult help = RunFathom({(*it)[1], "--help"});
    EXPECT_EQ(help.code, 0) << (*it)[1];
    EXPECT_THAT(help.out, HasSubstr("Example")) << (*it)[1];
  }
  EXPECT_GE(num_verbs, 6);
}

TEST_F(Cli, UnderscoresAndDashesAreTheSameInFlagsAndNotInValues) {
  const Json dashes = GenerateJson({"--prompt", "a_b", "--max-new-tokens", "3"});
  EXPECT_EQ(GenerateJson({"--prompt", "a_b", "--max_new_tokens", "3"})["choices"], dashes["choices"]);
  EXPECT_EQ(GenerateJson({"--prompt=a_b", "--max_new-tokens=3"})["choices"], dashes["choices"]);
  EXPECT_EQ(GenerateJson({"--prompt", "--a_b"})["usage"]["prompt_tokens"], 5) << "a value may look like a flag";
}

TEST_F(Cli, GenerateJsonHasItsShape) {
  const Json json = GenerateJson({"--tokens", "1,2,3", "--max-new-tokens", "5", "--temperature", "0"});
  ASSERT_TRUE(json.is_object());
  ASSERT_EQ(json["choices"].size(), 1u);
  const Json& choice = json["choices"][0];
  EXPECT_TRUE(choice["text"].is_string());
  EXPECT_FALSE(choice.contains("logprobs"));
  const size_t num_tokens = choice["tokens"].size();
  EXPECT_EQ(json["usage"], (Json{{"prompt_tokens", 3}, {"completion_tokens", num_tokens}}));
  for (const char* key : {"prefill_s", "decode_s", "prefill_tokens_per_s", "decode_tokens_per_s"}) EXPECT_TRUE(json["timings"][key].is_number()) << key;
  if (choice["finish_reason"] == "length") EXPECT_EQ(num_tokens, 5u);
  else EXPECT_EQ(choice["tokens"].back(), kTinyEnd);
}

TEST_F(Cli, GenerateGivesLogprobsThatAreThoseOfScore) {
  const Json generated = GenerateJson({"--tokens", "7,8", "--max-new-tokens", "6", "--ignore-eos", "--logprobs", "2"});
  const Json& choice = generated["choices"][0];
  std::string ids = "7,8";
  for (const Json& id : choice["tokens"]) ids += "," + id.dump();
  const RunResult result = RunFathom({"score", "--model", Path("tiny"), "--tokens", ids, "--json"});
  const Json score = Json::parse(result.out, nullptr, false);
  ASSERT_EQ(score["tokens"].size(), 8u) << result.err;
  ASSERT_EQ(score["logprobs"].size(), 7u);
  double sum = 0;
  for (size_t i = 0; i < 7; ++i) sum += score["logprobs"][i].get<double>();
  EXPECT_NEAR(score["nll"].get<double>(), -sum / 7, 1e-9);
  EXPECT_NEAR(score["perplexity"].get<double>(), std::exp(-sum / 7), 1e-6);
  ASSERT_EQ(choice["logprobs"].size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    const Json& entry = choice["logprobs"][i];
    EXPECT_EQ(entry["token"], choice["tokens"][i]);
    EXPECT_EQ(entry["top"].size(), 2u);
    EXPECT_EQ(entry["top"][0]["token"], choice["tokens"][i]) << "greedy takes the best";
    EXPECT_NEAR(entry["logprob"].get<double>(), score["logprobs"][i + 1].get<double>(), 2e-4) << "prefill = decode";
  }
}

TEST_F(Cli, SamplesAreReproducedByTheSeedAndDifferFromEachOther) {
  const std::vector<std::string> args = {"--prompt", "a", "--max-new-tokens", "12", "--temperature", "1.5", "--n", "3", "--seed", "4", "--ignore-eos"};
  const Json first = GenerateJson(args);
  EXPECT_EQ(GenerateJson(args)["choices"], first["choices"]);
  EXPECT_NE(first["choices"][0]["tokens"], first["choices"][1]["tokens"]);
  EXPECT_EQ(first["usage"]["completion_tokens"], 36);
}

TEST_F(Cli, SamplingThatIsNotSetComesFromGenerationConfig) {
  const auto model = Copy("advised");
  WriteFileAtomically(model / "generation_config.json", R"({"do_sample": true, "temperature": 1.5, "eos_token_id": [256, 300]})");
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--prompt", "a", "--max-new-tokens", "12", "--ignore-eos"});
    return GenerateJson(more, "advised")["choices"][0]["tokens"];
  };
  EXPECT_NE(run({"--seed", "1"}), run({"--seed", "2"}));
  EXPECT_EQ(run({"--seed", "1", "--temperature", "0"}), run({"--seed", "2", "--temperature", "0"}));
}

TEST_F(Cli, GenerationStopsAtTheEndOfTheContextWithLength) {
  const Json json = GenerateJson({"--prompt", std::string(195, 'x'), "--ignore-eos"});
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(json["usage"]["completion_tokens"], 5);
}

TEST_F(Cli, TextIsStreamedTheSameAsItIsPrintedWhole) {
  const std::vector<std::string> args = {"--prompt", "abc", "--max-new-tokens", "20"};
  const RunResult whole = Generate(args);
  auto more = args;
  more.push_back("--stream");
  EXPECT_EQ(Generate(more).out, whole.out);
  more.push_back("--json");
  std::istringstream lines(Generate(more).out);
  std::string text, line;
  Json last;
  while (std::getline(lines, line)) {
    last = Json::parse(line, nullptr, false);
    ASSERT_TRUE(last.is_object()) << line;
    text += last.value("text", "");
  }
  EXPECT_EQ(text + "\n", whole.out);
  EXPECT_TRUE(last.contains("usage")) << "the last line sums up";
}

TEST_F(Cli, ScoreOfOneTokenIsEmptyAndNull) {
  const RunResult result = RunFathom({"score", "--model", Path("tiny"), "--tokens", "5", "--json"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(Json::parse(result.out), Json::parse(R"({"tokens":[5],"logprobs":[],"nll":null,"perplexity":null})"));
}

TEST_F(Cli, ScoreWritesLogitsAndThoseOfTheMtpModule) {
  const std::string out = Path("logits.safetensors");
  const RunResult result = RunFathom({"score", "--model", Path("deepseek"), "--tokens", "1,2,3,4,5", "--logits-out", out, "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const std::string bytes = ReadFile(out);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  const Json header = Json::parse(bytes.substr(8, length));
  EXPECT_EQ(header["logits"]["shape"], (Json{5, kTinyVocabulary}));
  EXPECT_EQ(header["logits"]["dtype"], "F32");
  EXPECT_EQ(header["mtp_logits"]["shape"], (Json{4, kTinyVocabulary}));
  const RunResult plain = RunFathom({"score", "--model", Path("tiny"), "--tokens", "1,2", "--logits-out", out});
  ASSERT_EQ(plain.code, 0);
  EXPECT_EQ(ReadFile(out).find("mtp_logits"), std::string::npos);
}

TEST_F(Cli, AFullDiskIsTheMachinesFailure) {
  if (!fs::exists("/dev/full")) GTEST_SKIP();
  const std::string command = (BinaryFolder() / "fathom").string() + " models > /dev/full 2> " + Path("err");
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(ReadFile(Path("err")), HasSubstr("error: cannot write to standard output"));
}

TEST_F(Cli, ModelsAndDoctorSpeakJson) {
  const Json models = Json::parse(RunFathom({"models", "--json"}).out, nullptr, false);
  ASSERT_GE(models["models"].size(), 1u);
  for (const char* key : {"name", "installed", "bytes", "licence", "origin"}) EXPECT_TRUE(models["models"][0].contains(key)) << key;
  const Json doctor = Json::parse(RunFathom({"doctor", "--json"}).out, nullptr, false);
  for (const char* key : {"cpu", "memory", "libtorch", "cuda", "default_model", "advice"}) EXPECT_TRUE(doctor.contains(key)) << key;
}

TEST_F(Cli, TheDefaultModelIsThatOfTheEnvironment) {
  const RunResult result = RunFathom({"generate", "--tokens", "1", "--max-new-tokens", "1", "--json"}, "", {"FATHOM_MODEL=" + Path("tiny")});
  EXPECT_EQ(result.code, 0) << result.err;
  const RunResult missing = RunFathom({"generate", "--tokens", "1"}, "", {"FATHOM_MODEL=/no/model"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.err, HasSubstr("FATHOM_MODEL '/no/model'"));
}

TEST_F(Cli, PipedChatAnswersEachLineAndEndsWithZero) {
  const RunResult result = RunFathom({"chat", "--model", Path("tiny"), "--max-new-tokens", "5", "--seed", "1"}, "hello\n\nagain\n");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_GE(std::count(result.out.begin(), result.out.end(), '\n'), 2);
  EXPECT_EQ(result.out.find('\033'), std::string::npos) << "no colours in a pipe";
  EXPECT_EQ(RunFathom({"chat", "--model", Path("tiny")}, "").code, 0);
}

TEST_F(Cli, PipedChatObeysCommandsAndTellsMistakes) {
  const std::string saved = Path("talk.json");
  const RunResult result = RunFathom({"chat", "--model", Path("tiny"), "--max-new-tokens", "4", "--system", "be brief"},
                                     "hello\n/save " + saved + "\n/stats\n/quit\nnever said\n");
  EXPECT_EQ(result.code, 0);
  const Json talk = ReadJsonFile(saved);
  ASSERT_EQ(talk["messages"].size(), 3u);
  EXPECT_EQ(talk["messages"][0], (Json{{"role", "system"}, {"content", "be brief"}}));
  EXPECT_EQ(talk["messages"][1]["content"], "hello");
  EXPECT_THAT(result.err, HasSubstr("tok/s"));
  const RunResult wrong = RunFathom({"chat", "--model", Path("tiny")}, "/fly\n");
  EXPECT_EQ(wrong.code, 2);
  EXPECT_EQ(wrong.err, "error: unknown command /fly; /help lists them\n");
}

TEST_F(Cli, CtrlCStopsGenerateCleanly) {
  RunningFathom program({"generate", "--model", Path("long"), "--tokens", "1", "--max-new-tokens", "150000", "--ignore-eos", "--json", "--stream"}, false);
  program.ReadUntil("\n");
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
  EXPECT_THAT(program.rest(), HasSubstr("\"cancelled\""));
  EXPECT_THAT(program.rest(), HasSubstr("\"usage\"")) << "what there is is printed whole";
}

TEST_F(Cli, CtrlCAmidAWriteToASlowReaderLosesNoOutput) {
  RunningFathom program({"generate", "--model", Path("long"), "--tokens", "1", "--max-new-tokens", "150000", "--ignore-eos", "--json", "--stream"}, false);
  program.WaitUntilItBlocks();
  program.Signal(SIGINT);
  program.WaitUntilItBlocks();  // the signal has met the write
  EXPECT_EQ(program.Wait(), 130);
  std::istringstream lines(program.rest());
  for (std::string line; std::getline(lines, line);) EXPECT_TRUE(Json::accept(line)) << line;
  EXPECT_THAT(program.rest(), HasSubstr("\"usage\""));
}

TEST_F(Cli, CtrlCEndsAPipedChat) {
  RunningFathom program({"chat", "--model", Path("long"), "--max-new-tokens", "150000"}, false);
  program.Write("hello\n");
  program.ReadSome();  // of the answer
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
}

TEST_F(Cli, AtATerminalCtrlCStopsTheAnswerAndNotTheProgram) {
  RunningFathom program({"chat", "--model", Path("tiny"), "--max-new-tokens", "40", "--temperature", "0"}, true);
  program.ReadUntil(">>> ");
  program.Write("\x03");  // while waiting: the line is dropped
  program.ReadUntil("leaves)");
  program.ReadUntil(">>> ");
  program.Write("\"\"\"one\rtwo\"\"\"\r");
  program.ReadUntil(">>> ");
  program.Write("/stats\r");
  program.ReadUntil("tok/s");
  program.Write("/fly\r");
  program.ReadUntil("unknown command /fly");
  program.Write("/quit\r");
  EXPECT_EQ(program.Wait(), 0);
}

TEST_F(Cli, AtATerminalALongAnswerIsStoppedByCtrlC) {
  RunningFathom program({"chat", "--model", Path("long"), "--max-new-tokens", "150000", "--temperature", "2", "--threads", "1"}, true);
  program.ReadUntil(">>> ");
  // Answers of a random model may end by themselves: ask until one was stopped.
  for (int i = 0; i < 20; ++i) {
    program.Write("hello\r");
    program.ReadUntil("hello\r\n");
    std::string seen = program.ReadSome();  // the answer has begun: before that the terminal may still be the line editor's
    program.Write("\x03");
    if (seen.find(">>> ") == std::string::npos) seen += program.ReadUntil(">>> ");
    if (seen.find("(stopped)") != std::string::npos) {
      program.Write("\x04");
      EXPECT_EQ(program.Wait(), 0) << program.rest();
      return;
    }
    // The answer had ended: Ctrl-C met the prompt (which says how to leave) or fell between the two. The next question's echo comes after either.
  }
  FAIL() << "no answer was stopped";
}

}  // namespace
}  // namespace fathom
