// `fathom serve` from outside: the real program, a real model, plain sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/json.h"
#include "cli/program_run.h"
#include "cli/tiny_model.h"
#include "serve/http_client.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ServeProgram : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = new TemporaryFolder;
    WriteTinyModel(root_->path() / "tiny", 400, false);
    WriteTinyModel(root_->path() / "deepseek", 400, true);
    // Every expert is chosen: with fewer, a tie in the router's scores that rounding breaks either way changes an answer whose
    // own logits are far apart, which no bound on their gaps can tell from a mistake.
    EditJson(root_->path() / "deepseek" / "config.json", {{"num_experts_per_tok", 6}, {"n_group", 1}});
    WriteTinyModel(root_->path() / "long", 100000, false);
  }
  static void TearDownTestSuite() {
    delete root_;
  }
  static std::string Path(const std::string& name) { return (root_->path() / name).string(); }

  static inline TemporaryFolder* root_ = nullptr;
};

struct Served {
  RunningFathom program;
  int port = 0;
  explicit Served(const std::string& model, std::vector<std::string> more = {}) : program(Arguments(model, std::move(more)), false) {
    const std::string line = program.ReadUntil(" tokens of context");
    const size_t at = line.find("http://127.0.0.1:");
    if (at != std::string::npos) port = std::stoi(line.substr(at + 17));
  }
  static std::vector<std::string> Arguments(const std::string& model, std::vector<std::string> more) {
    std::vector<std::string> args = {"serve", "--model", model, "--port", "0", "--memory-fraction", "0.05"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

std::vector<int> PromptOf(int i) {
  std::vector<int> ids;
  for (int j = 0; j < 5 + i * 13 % 120; ++j) ids.push_back((i % 3 + j * (1 + i % 5)) % 250);  // some begin alike
  return ids;
}

Json Request(int i) {
  return {{"prompt", PromptOf(i)}, {"max_tokens", 20 + i % 90}, {"temperature", 0}, {"ignore_eos", true}, {"logprobs", 2}, {"stream", true}};
}

struct Text {
  std::vector<std::string> tokens;
  std::vector<double> gaps;  // between the two best tokens
};

Text Read(const HttpAnswer& answer) {
  Text text;
  for (const Json& event : answer.Events()) {
    if (event["choices"].empty() || event["choices"][0]["logprobs"].is_null()) continue;
    const Json& logprobs = event["choices"][0]["logprobs"];
    for (size_t t = 0; t < logprobs["tokens"].size(); ++t) {
      text.tokens.push_back(logprobs["tokens"][t]);
      double best = -1e9, second = -1e9;
      for (const auto& [token, value] : logprobs["top_logprobs"][t].items()) {
        const double logprob = value.get<double>();
        if (logprob > best) second = best, best = logprob;
        else second = std::max(second, logprob);
      }
      text.gaps.push_back(best - second);
    }
  }
  return text;
}

TEST_F(ServeProgram, HundredAndTwentyEightStreamsAtOnceSayWhatEachSaysAlone) {
  for (const char* model : {"tiny", "deepseek"}) {
    const bool has_mtp = std::string(model) == "deepseek";
    for (const char* guess : {"--speculate=0", has_mtp ? "--speculate-mtp" : "--speculate=4"}) {
      SCOPED_TRACE(std::string(model) + " " + guess);
      Served served(Path(model), {"--max-num-seqs", "64", guess});
      ASSERT_GT(served.port, 0);
      std::vector<std::unique_ptr<HttpClient>> clients;
      for (int i = 0; i < 128; ++i) {
        clients.push_back(std::make_unique<HttpClient>(served.port));
        clients.back()->SendRequest("POST", "/v1/completions", Request(i).dump());
      }
      std::vector<Text> together;
      for (auto& client : clients) together.push_back(Read(*client->Read()));
      int num_flips = 0;
      for (int i = 0; i < 128; ++i) {
        const Text alone = Read(clients[0]->Post("/v1/completions", Request(i)));
        const Text& other = together[static_cast<size_t>(i)];
        ASSERT_EQ(alone.tokens.size(), static_cast<size_t>(20 + i % 90));
        for (size_t t = 0; t < alone.tokens.size(); ++t) {
          if (alone.tokens[t] == other.tokens[t]) continue;
          EXPECT_LT(alone.gaps[t], 1e-3) << "request " << i << ", token " << t << ": not a near-tie";
          ++num_flips;
          break;
        }
      }
      EXPECT_LE(num_flips, 2) << model;
      const std::string metrics = clients[0]->Get("/metrics").body;
      const size_t drafted = metrics.find("vllm:spec_decode_num_draft_tokens_total{");
      EXPECT_EQ(metrics.substr(metrics.find("} ", drafted) + 2, 2) != "0\n", std::string(guess) != "--speculate=0");
      served.program.Signal(SIGTERM);
      EXPECT_EQ(served.program.Wait(), 0);
    }
  }
}

TEST_F(ServeProgram, GivesTheTokensOfGenerate) {
  const RunResult generated = RunFathom({"generate", "--model", Path("tiny"), "--tokens", "1,2,3", "--max-new-tokens", "30", "--temperature", "0", "--json"});
  Served served(Path("tiny"));
  HttpClient client(served.port);
  const Json answer = client.Post("/generate", {{"prompt", {1, 2, 3}}, {"max_new_tokens", 30}, {"temperature", 0}}).json();
  EXPECT_EQ(answer["tokens"], Json::parse(generated.out)["choices"][0]["tokens"]);
  EXPECT_EQ(answer["text"], Json::parse(generated.out)["choices"][0]["text"]);
  const Json chat = client.Post("/v1/chat/completions", {{"messages", {{{"role", "user"}, {"content", "hi"}}}}, {"max_tokens", 5}, {"seed", 3}}).json();
  EXPECT_EQ(chat["usage"]["prompt_tokens"], 20);
  EXPECT_EQ(chat["model"], "tiny");
}

TEST_F(ServeProgram, OnSigtermItFinishesWhatIsUnderWayAndEndsWith0) {
  Served served(Path("tiny"));
  HttpClient client(served.port);
  client.SendRequest("POST", "/v1/completions", Json({{"prompt", {1}}, {"max_tokens", 390}, {"temperature", 0}, {"ignore_eos", true}, {"stream", true}}).dump());
  ASSERT_TRUE(client.ReadUntil("data: "));
  served.program.Signal(SIGTERM);
  const auto answer = client.Read();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->Events().back()["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(served.program.Wait(), 0);
}

TEST_F(ServeProgram, WhatTakesTooLongToFinishIsCutOff) {
  Served served(Path("long"), {"--drain-seconds", "0.1"});
  HttpClient client(served.port);
  client.SendRequest("POST", "/v1/completions", Json({{"prompt", {1}}, {"max_tokens", 90000}, {"ignore_eos", true}, {"stream", true}}).dump());
  ASSERT_TRUE(client.ReadUntil("data: "));
  served.program.Signal(SIGTERM);
  EXPECT_EQ(served.program.Wait(), 0);
}

TEST_F(ServeProgram, SessionsAreThereAfterItWasKilledAndStartedAgain) {
  const std::vector<std::string> flags = {"--sessions", Path("sessions.db")};
  const auto say = [](HttpClient& client, int i) {
    const std::string said = "turn " + std::to_string(i);
    return client.Post("/v1/chat/completions", {{"session_id", "s"}, {"messages", {{{"role", "user"}, {"content", said}}}}, {"max_tokens", 4}, {"temperature", 0}}).json();
  };
  Json answers = Json::array();
  for (int i = 0; i < 3; ++i) {  // killed after each turn, with another answer under way
    Served served(Path("tiny"), flags);
    HttpClient client(served.port), busy(served.port);
    busy.SendRequest("POST", "/v1/chat/completions", Json({{"session_id", "other"}, {"messages", {{{"role", "user"}, {"content", "x"}}}}, {"stream", true}, {"ignore_eos", true}}).dump());
    ASSERT_TRUE(busy.ReadUntil("data: "));
    answers.push_back(say(client, i)["choices"][0]["message"]["content"]);
    served.program.Signal(SIGKILL);
    EXPECT_EQ(served.program.Wait(), 128 + SIGKILL);
  }
  Served served(Path("tiny"), flags);
  HttpClient client(served.port);
  const Json session = client.Get("/v1/sessions/s").json();
  ASSERT_EQ(session["messages"].size(), 6u) << session.dump();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(session["messages"][2 * i]["content"], "turn " + std::to_string(i));
    EXPECT_EQ(session["messages"][2 * i + 1]["content"], answers[i]);
  }
}

TEST_F(ServeProgram, BenchServeLoadsAServerAndMeasuresTheEngineAlone) {
  Served served(Path("long"));
  const std::string url = "http://127.0.0.1:" + std::to_string(served.port);
  for (const std::vector<std::string>& how : {std::vector<std::string>{"--concurrency", "3"}, {"--rate", "50"}}) {
    std::vector<std::string> args = {"bench", "serve", "--url", url, "--requests", "8", "--max-tokens", "20", "--json"};
    args.insert(args.end(), how.begin(), how.end());
    const RunResult result = RunFathom(args);
    ASSERT_EQ(result.code, 0) << result.err;
    const Json json = Json::parse(result.out);
    EXPECT_EQ(json["done"], 8);
    EXPECT_GT(json["new_tokens"].get<int64_t>(), 8 * 4 - 1);
    EXPECT_LE(json["ttft_ms"]["p50"].get<double>(), json["e2e_ms"]["p99"].get<double>());
  }
  const RunResult alone = RunFathom({"bench", "serve", "--model", Path("long"), "--requests", "20", "--max-tokens", "30", "--json"});
  ASSERT_EQ(alone.code, 0) << alone.err;
  const Json json = Json::parse(alone.out);
  EXPECT_EQ(json["engine"]["new_tokens"], json["static_batches"]["new_tokens"]);
  EXPECT_GT(json["ratio"].get<double>(), 0);
  const RunResult shared = RunFathom({"bench", "serve", "--model", Path("long"), "--shared-prompt", "640", "--json"});
  ASSERT_EQ(shared.code, 0) << shared.err;
  EXPECT_EQ(Json::parse(shared.out)["first"]["prompt_tokens_run"], 664);
  EXPECT_EQ(Json::parse(shared.out)["second"]["prompt_tokens_run"], 24);
  EXPECT_EQ(RunFathom({"bench", "serve", "--url", "ftp://x"}).code, 2);
  EXPECT_EQ(RunFathom({"bench", "serve", "--url", "http://127.0.0.1:1"}).code, 2);
}

TEST_F(ServeProgram, BenchSpeculationGivesTheSameAnswersEveryWay) {
  std::ofstream(Path("text.txt")) << [] {
    std::string text;
    for (int i = 0; i < 200; ++i) text += "line " + std::to_string(i % 7) + " of the text\n";
    return text;
  }();
  const RunResult result = RunFathom({"bench", "speculation", "--model", Path("deepseek"), "--file", Path("text.txt"), "--prompts", "3", "--prompt-tokens", "40",
                                      "--new-tokens", "20", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const Json ways = Json::parse(result.out)["ways"];
  for (const char* way : {"none", "mtp", "lookup"}) {
    EXPECT_EQ(ways[way]["equal_answers"], 3) << way;
    EXPECT_GE(ways[way]["tokens_per_step"].get<double>(), 1) << way;
  }
  EXPECT_EQ(RunFathom({"bench", "speculation", "--model", Path("deepseek")}).code, 2);
}

TEST_F(ServeProgram, WrongFlagsAreOneLine) {
  Served served(Path("tiny"));
  const auto refuse = [&](std::vector<std::string> more, const std::string& what) {
    const RunResult result = RunFathom(Served::Arguments(Path("tiny"), std::move(more)));
    EXPECT_EQ(result.code, 2);
    EXPECT_THAT(result.err, HasSubstr(what));
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1);
    EXPECT_EQ(result.out, "");
  };
  refuse({"--max-model-len", "401"}, "--max-model-len 401 is more than the model's context of 400");
  refuse({"--host", "nowhere"}, "--host must be an address");
  refuse({"--api-key", ""}, "--api-key must not be empty");
  const RunResult taken = RunFathom({"serve", "--model", Path("tiny"), "--memory-fraction", "0.05", "--port", std::to_string(served.port)});
  EXPECT_EQ(taken.code, 2);
  EXPECT_THAT(taken.err, HasSubstr("cannot bind"));
}

}  // namespace
}  // namespace fathom
