#include "serve/chat_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"

namespace fathom {
namespace {

// The events as one text: [content], {reasoning}, name(arguments).
std::string Shown(const std::vector<OutputEvent>& events) {
  std::string text;
  OutputEvent::Kind last = OutputEvent::kToolCall;
  bool is_first = true;
  for (const OutputEvent& event : events) {
    if (is_first || event.kind != last || event.kind == OutputEvent::kToolCall) {
      static constexpr const char* kBegin[] = {"|content:", "|thought:", "|call:", "|arguments:"};
      text += kBegin[event.kind];
    }
    text += event.text;
    last = event.kind;
    is_first = false;
  }
  return text;
}

// The same events come out wherever the text is cut, and no marker among them.
std::string Parse(const ChatOutputOptions& options, const std::string& text) {
  std::string whole;
  for (size_t piece = 1; piece <= text.size() + 1; ++piece) {
    for (size_t shift = 0; shift < std::min<size_t>(piece, 40); ++shift) {
      ChatOutput output(options);
      std::vector<OutputEvent> events;
      const auto take = [&](std::vector<OutputEvent> more) { events.insert(events.end(), more.begin(), more.end()); };
      if (shift > 0) take(output.Push(text.substr(0, shift)));
      for (size_t at = shift; at < text.size(); at += piece) take(output.Push(text.substr(at, piece)));
      take(output.Finish());
      const std::string shown = Shown(events);
      if (whole.empty()) whole = shown;
      EXPECT_EQ(shown, whole) << "pieces of " << piece << " after " << shift;
      if (shown != whole) return "";
      for (const char* marker : {"<think>", "</think>", "tool_call>", "\uFF5C>"}) EXPECT_EQ(shown.find(marker), std::string::npos);
    }
  }
  return whole;
}

constexpr ChatOutputOptions kThinks = {.reasoning = true};
constexpr ChatOutputOptions kInThought = {.reasoning = true, .starts_in_reasoning = true};
constexpr ChatOutputOptions kTools = {.reasoning = true, .tools = true};

TEST(ChatOutput, PlainTextIsContent) {
  EXPECT_EQ(Parse({}, "a <b> c"), "|content:a <b> c");
  EXPECT_EQ(Parse(kThinks, "a < b \n"), "|content:a < b \n");
  EXPECT_EQ(Parse(kTools, " a <tool b \n"), "|content: a <tool b \n");
}

TEST(ChatOutput, PartsThoughtFromContent) {
  EXPECT_EQ(Parse(kThinks, "<think>\nwell...\n</think>\n\nYes."), "|thought:well...\n|content:Yes.");
  EXPECT_EQ(Parse(kInThought, "\nwell </thin</think>Yes."), "|thought:well </thin|content:Yes.");
  EXPECT_EQ(Parse(kThinks, "<think>\n\n</think>\n\nYes."), "|content:Yes.");
  EXPECT_EQ(Parse(kThinks, "<think>cut off"), "|thought:cut off");
}

TEST(ChatOutput, ReadsHermesAndQwenCalls) {
  EXPECT_EQ(Parse(kTools, "Let me see.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\": \"}<x>\\\"\", \"b\": [1, {}]}}\n</tool_call>\n"
                          "<tool_call>\n{\"name\": \"put\", \"arguments\": {}}\n</tool_call>"),
            "|content:Let me see.|call:get|arguments:{\"a\": \"}<x>\\\"\", \"b\": [1, {}]}|call:put|arguments:{}");
  EXPECT_EQ(Parse(kTools, "<think>x</think>\n\n<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"late\"}</tool_call>"),
            "|thought:x|call:late|arguments:{\"a\":1}");
  EXPECT_EQ(Parse(kTools, "<tool_call>not JSON</tool_call>"), "|content:not JSON");
  EXPECT_EQ(Parse({.reasoning = true}, "<tool_cal is text"), "|content:<tool_cal is text") << "no tools were offered";
}

TEST(ChatOutput, ReadsDeepSeekV3Calls) {
  EXPECT_EQ(Parse(kTools, "Look:<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n"
                          "<｜tool▁call▁begin｜>function<｜tool▁sep｜>put\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
            "|content:Look:|call:get|arguments:{\"a\": 1}|call:put|arguments:{}");
}

TEST(ChatOutput, ReadsDeepSeekV31Calls) {
  EXPECT_EQ(Parse(kInThought, "hm</think>"), "|thought:hm");
  EXPECT_EQ(Parse({.reasoning = true, .starts_in_reasoning = true, .tools = true},
                  "hm</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>{\"a\": \"`\"}<｜tool▁call▁end｜>"
                  "<｜tool▁call▁begin｜>put<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
            "|thought:hm|call:get|arguments:{\"a\": \"`\"}|call:put|arguments:{}");
}

TEST(ChatOutput, CallsAreNumberedAndNamed) {
  ChatOutput output(kTools);
  const auto events = output.Push("<tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call><tool_call>{\"name\": \"b\", \"arguments\": {\"x\": 2}}</tool_call>");
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].tool_index, 0);
  EXPECT_EQ(events[3].tool_index, 1);
  EXPECT_NE(events[0].tool_id, events[2].tool_id);
  EXPECT_TRUE(output.has_tool_calls());
}

}  // namespace
}  // namespace fathom
