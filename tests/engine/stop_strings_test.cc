#include "engine/stop_strings.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

// What a reader sees of `text` in the given pieces.
std::string Shown(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  std::string shown;
  for (const std::string& piece : pieces) {
    shown += matcher.Push(piece);
    if (matcher.matched()) return shown;
  }
  return shown + matcher.Finish();
}

TEST(StopStrings, TheTextIsTheSameWhereverItIsCut) {
  const std::vector<std::string> stops = {"END", "\n\nUser:", "NDX"};
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"one END two", "one "},   {"EEND", "E"},           {"EN ENX E", "EN ENX E"}, {"a\n\nUser: b", "a"},
           {"a\n\n\nUser:", "a\n"},   {"no stop at all", "no stop at all"}, {"", ""},    {"ENDNDX", ""}}) {
    for (size_t first = 0; first <= text.size(); ++first) {
      for (size_t second = first; second <= text.size(); ++second) {
        ASSERT_EQ(Shown(stops, {text.substr(0, first), text.substr(first, second - first), text.substr(second)}), expected)
            << text << " cut at " << first << " and " << second;
      }
    }
  }
}

TEST(StopStrings, NoPieceOfAStopStringIsEverShownBeforeItIsCertain) {
  StopMatcher matcher({"<stop>"});
  EXPECT_EQ(matcher.Push("a<st"), "a");
  EXPECT_EQ(matcher.Push("o"), "");
  EXPECT_EQ(matcher.Push("<stop"), "<sto");
  EXPECT_EQ(matcher.Push(">tail"), "");
  EXPECT_TRUE(matcher.matched());
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopStrings, TheOneThatIsCompleteFirstWinsThenTheOneThatBeginsFirst) {
  EXPECT_EQ(Shown({"abc", "b"}, {"xabc"}), "xa");
  EXPECT_EQ(Shown({"b", "ab"}, {"xab"}), "x");
}

TEST(StopStrings, EmptyOnesAreLeftOut) { EXPECT_EQ(Shown({"", ""}, {"text"}), "text"); }

}  // namespace
}  // namespace fathom
