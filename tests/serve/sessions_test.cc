#include "serve/sessions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "serve/http_client.h"
#include "serve/served_fake.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class SessionsTest : public ::testing::Test {
 protected:
  SessionOptions Options() const { return {.file = folder_ / "sessions.db", .max_turns = 2, .expiry_seconds = 100}; }
  ServedFakeOptions Served() const { return {.service = {.api_keys = {"ann", "bob"}, .sessions = Options()}}; }

  TemporaryFolder temporary_;
  const fs::path& folder_ = temporary_.path();
};

OrderedJson Turn(const std::string& said) { return {{{"role", "user"}, {"content", said}}, {{"role", "assistant"}, {"content", "to " + said}}}; }

TEST_F(SessionsTest, KeepTheLastTurnsOfEachOwnerUntilTheyExpire) {
  Sessions sessions(Options());
  sessions.Append("ann", "s", "be kind", Turn("1"), 1000);
  for (const char* said : {"2", "3"}) sessions.Append("ann", "s", "", Turn(said), 1000);
  sessions.Append("bob", "s", "", Turn("b"), 1000);
  const Sessions::Session session = sessions.Load("ann", "s", 1100);
  EXPECT_EQ(session.system, "be kind");
  EXPECT_EQ(session.turns, (std::vector<OrderedJson>{Turn("2"), Turn("3")}));
  EXPECT_EQ(sessions.Load("bob", "s", 1000).turns.size(), 1u);
  EXPECT_TRUE(sessions.Load("ann", "t", 1000).turns.empty());
  EXPECT_TRUE(sessions.Load("ann", "s", 1101).turns.empty()) << "it has expired";
  sessions.Append("ann", "s", "", Turn("4"), 1101);
  EXPECT_EQ(sessions.Load("ann", "s", 1101).turns, std::vector<OrderedJson>{Turn("4")}) << "what expired does not come back";
  EXPECT_EQ(sessions.Load("ann", "s", 1101).system, "");
  EXPECT_TRUE(sessions.Remove("ann", "s"));
  EXPECT_FALSE(sessions.Remove("ann", "s"));
}

TEST_F(SessionsTest, AreThereAfterTheFileIsOpenedAgainAndPrivate) {
  Sessions(Options()).Append("", "s", "", Turn("1"), 1000);
  EXPECT_EQ(Sessions(Options()).Load("", "s", 1000).turns.size(), 1u);
  EXPECT_EQ(fs::status(Options().file).permissions() & fs::perms::others_all, fs::perms::none);
}

TEST_F(SessionsTest, RefuseAFileThatIsNotTheirs) {
  std::ofstream(Options().file) << "this is no database, however long the text may be that stands in it; it has to have some bytes";
  EXPECT_THROW(Sessions{Options()}, UserError);
  EXPECT_THROW(Sessions({.file = folder_ / "none" / "x.db"}), UserError);
}

Json Chat(const std::string& session, const std::string& says) {
  return {{"session_id", session}, {"messages", {{{"role", "user"}, {"content", "say " + says}}}}, {"temperature", 0}};
}

TEST_F(SessionsTest, StandInFrontOfWhatIsSaidNext) {
  ServedFake fake(Served());
  HttpClient client(fake.port());
  const std::string ann = "Authorization: Bearer ann\r\n", bob = "Authorization: Bearer bob\r\n";
  const int64_t first = client.Post("/v1/chat/completions", Chat("s", "one"), ann).json()["usage"]["prompt_tokens"];
  EXPECT_EQ(first, std::ssize(std::string("user:say one\nassistant\x01")));
  Json streamed = Chat("s", "two");
  streamed["stream"] = true;
  const Json system = {{"role", "system"}, {"content", "S"}};
  streamed["messages"].insert(streamed["messages"].begin(), system);
  EXPECT_EQ(client.Post("/v1/chat/completions", streamed, ann).status, 200);
  const Json kept = client.Get("/v1/sessions/s", ann).json();
  EXPECT_EQ(kept["system"], "S");
  EXPECT_EQ(kept["messages"], Json({{{"role", "user"}, {"content", "say one"}}, {{"role", "assistant"}, {"content", "one"}},
                                    {{"role", "user"}, {"content", "say two"}}, {{"role", "assistant"}, {"content", "one"}}}))
      << "the fake says what the first message wants";
  const int64_t third = client.Post("/v1/chat/completions", Chat("s", "six"), ann).json()["usage"]["prompt_tokens"];
  EXPECT_EQ(third, std::ssize(std::string("system:S\nuser:say one\nassistant:one\nuser:say two\nassistant:one\nuser:say six\nassistant\x01")));
  EXPECT_EQ(client.Get("/v1/sessions/s", bob).status, 404) << "another key's sessions are not seen";
  EXPECT_EQ(client.Get("/v1/sessions/s").status, 401);
  client.SendRequest("DELETE", "/v1/sessions/s", "", ann);
  EXPECT_EQ(client.Read()->json()["deleted"], true);
  EXPECT_EQ(client.Get("/v1/sessions/s", ann).status, 404);
}

TEST_F(SessionsTest, GiveWayByWholeTurnsWhereTheContextIsFull) {
  ServedFakeOptions options = Served();
  options.engine.context_length = 60;
  ServedFake fake(options);
  HttpClient client(fake.port());
  const std::string ann = "Authorization: Bearer ann\r\n";
  for (int i = 0; i < 4; ++i) {
    const HttpAnswer answer = client.Post("/v1/chat/completions", Chat("s", "abc"), ann);
    ASSERT_EQ(answer.status, 200) << answer.body;
    EXPECT_LT(answer.json()["usage"]["prompt_tokens"], 60);
  }
}

TEST_F(SessionsTest, AreRefusedWhereTheServerKeepsNoneOrTheRequestIsWrong) {
  ServedFake none;
  HttpClient client(none.port());
  EXPECT_THAT(client.Post("/v1/chat/completions", Chat("s", "x")).body, HasSubstr("--sessions"));
  ServedFake fake(Served());
  HttpClient other(fake.port());
  const std::string ann = "Authorization: Bearer ann\r\n";
  EXPECT_EQ(other.Post("/v1/chat/completions", Chat("", "x"), ann).status, 400);
  EXPECT_EQ(other.Post("/v1/chat/completions", Chat(std::string(200, 'x'), "x"), ann).status, 400);
  Json twice = Chat("s", "x");
  twice["n"] = 2;
  EXPECT_THAT(other.Post("/v1/chat/completions", twice, ann).body, HasSubstr("'n' must be 1"));
}

}  // namespace
}  // namespace fathom
