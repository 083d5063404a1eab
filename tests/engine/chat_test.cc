#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "engine/chat_history.h"
#include "engine/chat_session.h"
#include "engine/fake_runner.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

OrderedJson Conversation(int num_turns, bool system) {
  OrderedJson messages = OrderedJson::array();
  if (system) messages.push_back({{"role", "system"}, {"content", "S"}});
  for (int i = 0; i < num_turns; ++i) {
    messages.push_back({{"role", "user"}, {"content", "q" + std::to_string(i)}});
    messages.push_back({{"role", "assistant"}, {"content", "a" + std::to_string(i)}});
  }
  return messages;
}

std::string Contents(const OrderedJson& messages) {
  std::string text;
  for (const auto& message : messages) text += message["content"].get<std::string>() + " ";
  return text;
}

TEST(CutHistory, KeepsEverythingThatFits) {
  EXPECT_EQ(CutHistory(Conversation(3, true), 0, [](const auto&) { return true; }), Conversation(3, true));
}

TEST(CutHistory, DropsTheOldestWholeTurnsAndKeepsTheSystemPrompt) {
  const auto at_most = [](size_t n) { return [n](const OrderedJson& m) { return m.size() <= n; }; };
  EXPECT_EQ(Contents(CutHistory(Conversation(5, true), 0, at_most(6))), "S q3 a3 q4 a4 ");
  EXPECT_EQ(Contents(CutHistory(Conversation(5, false), 0, at_most(6))), "q2 a2 q3 a3 q4 a4 ");
  EXPECT_EQ(Contents(CutHistory(Conversation(5, true), 2, at_most(100))), "S q3 a3 q4 a4 ");
  EXPECT_EQ(Contents(CutHistory(Conversation(5, true), 4, at_most(3))), "S q4 a4 ");
  EXPECT_EQ(Contents(CutHistory(Conversation(5, true), 0, at_most(0))), "S q4 a4 ") << "the last turn stays";
}

TEST(CutHistory, ATurnHoldsItsToolCallsToo) {
  OrderedJson messages = Conversation(1, false);
  messages.push_back({{"role", "tool"}, {"content", "t"}});
  messages.push_back({{"role", "assistant"}, {"content", "b"}});
  messages.push_back({{"role", "user"}, {"content", "q1"}});
  EXPECT_EQ(Contents(CutHistory(messages, 1, [](const auto&) { return true; })), "q1 ");
  EXPECT_EQ(Contents(CutHistory(messages, 2, [](const auto&) { return true; })), "q0 a0 t b q1 ");
}

TEST(Conversation, IsSavedAndLoaded) {
  const auto path = std::filesystem::temp_directory_path() / ("fathom_conversation_" + std::to_string(getpid()) + ".json");
  SaveConversation(path, Conversation(2, true));
  EXPECT_EQ(LoadConversation(path), Conversation(2, true));
  for (const char* wrong : {R"([{"content": "a"}])", R"([{"role": "user"}])", R"([{"role": "system", "content": null}])", "[]", R"({"messages": 1})"}) {
    WriteFileAtomically(path, wrong);
    EXPECT_THROW(LoadConversation(path), UserError) << wrong;
  }
  WriteFileAtomically(path, R"([{"role": "assistant", "content": null, "tool_calls": []}])");
  EXPECT_EQ(LoadConversation(path).size(), 1u);
  std::filesystem::remove(path);
}

// "[role:content]" for every message, then "[" where the answer comes.
class BracketTemplate : public ChatTemplate {
 public:
  std::string Render(const TemplateInput& input) const override {
    std::string text;
    for (const auto& m : input.messages) text += "[" + m["role"].get<std::string>() + ":" + m["content"].get<std::string>() + "]";
    return text + (input.add_generation_prompt ? "[assistant:" : "");
  }
};

// Answers with "okN", N the number of user messages it sees; the closing bracket is its end token.
struct ChatWorld {
  FakeRunner* runner = nullptr;
  std::vector<int64_t> sizes;
  std::unique_ptr<ChatSession> session;

  explicit ChatWorld(int64_t context, ChatOptions options = {}) {
    options.stop_token_ids = {']'};
    const auto rule = [](const std::vector<int32_t>& tokens) -> int32_t {
      const std::string text(tokens.begin(), tokens.end());
      int users = 0;
      for (size_t at = text.find("[user:"); at != std::string::npos; at = text.find("[user:", at + 1)) ++users;
      const std::string answer = "ok" + std::to_string(users) + "]";
      return answer[text.size() - text.rfind("[assistant:") - 11];
    };
    session = std::make_unique<ChatSession>(
        [this, rule, context](int64_t size) {
          sizes.push_back(size);
          auto made = std::make_unique<FakeRunner>(257, rule, (size + kBlockTokens - 1) / kBlockTokens);
          runner = made.get();
          return std::make_unique<Engine>(std::move(made), std::make_shared<ByteTokenizer>(), EngineOptions{.context_length = context});
        },
        std::make_shared<ByteTokenizer>(), std::make_shared<BracketTemplate>(), context, options);
  }
  std::string Ask(const std::string& text) {
    std::string answer;
    session->Ask(text, [&](const std::string& piece) {
      answer += piece;
      return true;
    });
    return answer;
  }
};

TEST(ChatSession, AnswersAndRemembers) {
  ChatWorld world(1000);
  world.session->SetSystem("be kind");
  EXPECT_EQ(world.Ask("hello"), "ok1");
  EXPECT_EQ(world.Ask("again"), "ok2");
  EXPECT_EQ(Contents(world.session->messages()), "be kind hello ok1 again ok2 ");
  world.session->Reset();
  EXPECT_EQ(Contents(world.session->messages()), "be kind ");
  world.session->SetSystem("");
  EXPECT_EQ(world.Ask("anew"), "ok1");
}

TEST(ChatSession, RunsOnlyWhatIsNewInEachTurn) {
  ChatWorld world(1000);
  world.Ask(std::string(300, 'x'));
  const int64_t before = world.runner->num_run();
  world.Ask("short");
  EXPECT_EQ(world.session->stats().timings.prefilled_tokens, std::ssize(std::string("][user:short][assistant:")));
  EXPECT_LT(world.runner->num_run() - before, 40);
}

TEST(ChatSession, CutsOldTurnsToFitTheContextAndTheAskedNumber) {
  ChatWorld world(200, {.max_new_tokens = 40});
  for (int i = 0; i < 20; ++i) world.Ask("question");
  EXPECT_EQ(world.session->stats().turns, 20);
  EXPECT_EQ(world.Ask("question"), "ok5") << "as many as fit into 200 - 40 tokens";
  world.session->options().max_history_turns = 2;
  EXPECT_EQ(world.Ask("question"), "ok2");
}

TEST(ChatSession, RefusesATurnThatDoesNotFitAndStaysAsItWas) {
  ChatWorld world(200);
  world.Ask("fits");
  try {
    world.Ask(std::string(300, 'x'));
    FAIL();
  } catch (const UserError& e) {
    EXPECT_THAT(e.what(), HasSubstr("the context of 200"));
  }
  EXPECT_EQ(world.Ask("fits"), "ok2");
}

TEST(ChatSession, AStoppedAnswerIsKeptAndAnsweredAgainOnRequest) {
  ChatWorld world(1000);
  std::string shown;
  const FinishReason finish = world.session->Ask("hello", [&](const std::string& piece) {
    shown += piece;
    return shown.size() < 2;
  });
  EXPECT_EQ(finish, FinishReason::kCancelled);
  EXPECT_EQ(Contents(world.session->messages()), "hello ok ");
  world.session->Regenerate([](const std::string&) { return true; });
  EXPECT_EQ(Contents(world.session->messages()), "hello ok1 ");
  ChatWorld empty(1000);
  EXPECT_THROW(empty.session->Regenerate([](const std::string&) { return true; }), UserError);
}

TEST(ChatSession, ItsCacheGrowsWithTheConversationUpToTheContext) {
  ChatWorld world(20000, {.max_new_tokens = 100});
  world.Ask("hello");
  EXPECT_EQ(world.sizes, (std::vector<int64_t>{4096}));
  world.Ask(std::string(5000, 'x'));
  EXPECT_EQ(world.Ask(std::string(9000, 'x')), "ok3");
  EXPECT_EQ(world.sizes, (std::vector<int64_t>{4096, 8192, 16384}));
}

}  // namespace
}  // namespace fathom
