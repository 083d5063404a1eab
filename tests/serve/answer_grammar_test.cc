#include "serve/answer_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/grammar_walk.h"
#include "engine/schema_validator.h"
#include "serve/chat_output.h"

namespace fathom {
namespace {

std::shared_ptr<const Grammar> Compile(const AnswerGrammar& grammar) {
  static const ByteTokenizer tokenizer;
  static GrammarCompiler compiler(tokenizer, 257, std::vector<int32_t>{ByteTokenizer::kEnd});
  return compiler.Compile(grammar.parts);
}

bool Takes(const AnswerGrammar& grammar, const std::string& text) {
  GrammarMatcher matcher(Compile(grammar));
  for (const char c : text) {
    if (!matcher.Accept(static_cast<unsigned char>(c))) return false;
  }
  return matcher.MayEnd();
}

const OrderedJson& Tools() {
  static const OrderedJson kTools = OrderedJson::parse(R"([{"type": "function", "function": {"name": "get \"it\"", "parameters": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1,
      "maximum": 50}, "s": {"type": "string", "maxLength": 5}}, "required": ["n", "s"]}}}, {"type": "function", "function": {"name": "tell", "parameters": {"type": "object", "properties": {}}}}])");
  return kTools;
}

// The events of a text that comes a byte at a time.
std::vector<OutputEvent> Parted(const std::string& text, const ChatOutputOptions& options) {
  ChatOutput output(options);
  std::vector<OutputEvent> events;
  const auto add = [&](std::vector<OutputEvent> more) { events.insert(events.end(), more.begin(), more.end()); };
  for (const char c : text) add(output.Push(std::string(1, c)));
  add(output.Finish());
  return events;
}

TEST(AnswerGrammar, ForcedCallsOfEveryFormatComeBackAsCalls) {
  for (const ToolFormat format : {ToolFormat::kHermes, ToolFormat::kDeepSeekV3, ToolFormat::kDeepSeekV31}) {
    for (const bool only_one : {false, true}) {
      const ChatGrammar chat{.tools = Tools(), .choice = {.kind = ToolChoice::Kind::kRequired, .only_one = only_one}, .format = format};
      const auto grammar = Compile(ChatAnswerGrammar(chat));
      int num_ended = 0;
      for (uint64_t seed = 0; seed < 30; ++seed) {
        const Walk walk = RandomWalk(grammar, ByteTokenizer(), seed, 1500);
        if (!walk.has_ended) continue;
        ++num_ended;
        std::vector<std::string> arguments, names;
        for (const OutputEvent& event : Parted(walk.text, {.tools = true, .calls_are_whole = true})) {
          if (event.kind == OutputEvent::kToolCall) names.push_back(event.text), arguments.emplace_back();
          else if (event.kind == OutputEvent::kToolArguments) arguments.back() += event.text;
          else ADD_FAILURE() << "leaked '" << event.text << "' of " << walk.text;
        }
        ASSERT_FALSE(names.empty()) << walk.text;
        EXPECT_TRUE(!only_one || names.size() == 1) << walk.text;
        for (size_t i = 0; i < names.size(); ++i) {
          const size_t which = names[i] == "tell" ? 1 : 0;
          EXPECT_EQ(names[i], Tools()[which]["function"]["name"]);
          const OrderedJson value = OrderedJson::parse(arguments[i], nullptr, false);
          ASSERT_FALSE(value.is_discarded()) << arguments[i] << " of " << walk.text;
          EXPECT_EQ(Violation(Tools()[which]["function"]["parameters"], value, Tools()), "");
        }
      }
      EXPECT_GT(num_ended, 15);
    }
  }
}

TEST(AnswerGrammar, TheFormBeginsBehindTheThought) {
  const AnswerGrammar content{.parts = {"root ::= \"yes\" | \"no\"\n"}, .field = "f"};
  const AnswerGrammar open = ChatAnswerGrammar({.content = content, .may_think = true, .starts_thinking = true});
  EXPECT_TRUE(Takes(open, "hm, yes? {\"a\"</think>\n\nno"));
  EXPECT_TRUE(Takes(open, "</think>yes"));
  EXPECT_FALSE(Takes(open, "yes"));
  EXPECT_FALSE(Takes(open, "hm</think>maybe"));
  const AnswerGrammar closed = ChatAnswerGrammar({.content = content, .may_think = true});
  EXPECT_TRUE(Takes(closed, "yes"));
  EXPECT_TRUE(Takes(closed, "<think>hm</think>\nyes"));
  EXPECT_FALSE(Takes(closed, "<think>hm"));
  EXPECT_EQ(ChatAnswerGrammar({.content = content}).parts, content.parts);
  EXPECT_TRUE(ChatAnswerGrammar({.may_think = true}).parts.empty());
}

}  // namespace
}  // namespace fathom
