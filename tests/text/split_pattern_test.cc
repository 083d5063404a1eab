#include "text/split_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "text/regex_translation.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Matches(const SplitPattern& pattern, const std::string& text) {
  std::vector<std::string> found;
  for (size_t from = 0; from < text.size();) {
    const auto match = pattern.Find(text, from);
    if (!match || match->begin == match->end) break;
    found.push_back(text.substr(match->begin, match->end - match->begin));
    from = match->end;
  }
  return found;
}

// Characters of every class, picked so that the alternatives of the families compete.
std::string RandomText(std::mt19937& rng) {
  static const std::vector<std::string> kParts = {
      " ", "  ", "\n", "\r\n", "\t", "a", "B", "xyz", "'s", "'LL", "'re", "'", "1", "22", "4444", "é", "e\u0301", "的", "中国", "カ",
      "\u3000", "\u00a0", "\u0085", "\u2028", "\u200d", "\u0301", "½", "٣", "!", "...", "“", "€", "+", "_", "~", "🦙", "\u180e",
      "\x01", "ſ", "'ſ", "ß", "한", "\ue000", "\U000e0001", "゠", "龥", "龦", "ǅ", "ʰ", "ⅷ", "\xF0\x90\x90\x80"};
  std::string text;
  for (size_t i = rng() % 14; i > 0; --i) {
    if (rng() % 12 == 0) {
      const uint32_t c = rng() % 0x11000;
      AppendUtf8(text, c >= 0xD800 && c < 0xE000 ? 'q' : c);
    } else {
      text += kParts[rng() % kParts.size()];
    }
  }
  return text;
}

TEST(SplitPattern, HandWrittenMatchersAgreeWithTheGeneralPath) {
  std::mt19937 rng(5);
  const std::vector<std::string> patterns = {kGpt2Regex,      kLlama3Regex,          kQwen2Regex,  kDeepSeekV3Regex, R"(\p{N}{1,3})",
                                             R"(\s?\p{L}+)", R"(\s?[!-/:-~\x{3000}-\x{3002}]+)", R"(\s+$)",     R"([\r\n])",      "[一-龥]+",
                                             R"([^\S\n]+)",  R"(\d)"};
  for (const std::string& regex : patterns) {
    const auto fast = SplitPattern::FromRegex(regex);
    const auto general = SplitPattern::FromRegexGeneral(regex);
    for (int i = 0; i < 4000; ++i) {
      const std::string text = RandomText(rng);
      ASSERT_EQ(Matches(*fast, text), Matches(*general, text)) << regex << " on " << text;
    }
  }
}

TEST(SplitPattern, TheKnownPatternsAndRunsHaveMatchersOfTheirOwn) {
  for (const char* regex : {kGpt2Regex, kLlama3Regex, kQwen2Regex, kDeepSeekV3Regex}) EXPECT_NE(MakeKnownPattern(regex), nullptr);
  EXPECT_TRUE(ParseRunPattern(R"(\p{N}{1,3})").has_value());
  EXPECT_TRUE(ParseRunPattern(R"(\s+$)").has_value());
  EXPECT_FALSE(ParseRunPattern(R"(\s+(?!\S))").has_value());
  EXPECT_FALSE(ParseRunPattern("ab").has_value());
}

TEST(SplitPattern, RegexesMeanWhatOnigurumaMakesOfThem) {
  EXPECT_THAT(Matches(*SplitPattern::FromRegex(R"(\s+$)"), "a \n  b "), ElementsAre(" ", " "));
  EXPECT_THAT(Matches(*SplitPattern::FromRegex("^b|x"), "b\nbxb"), ElementsAre("b", "b", "x"));
  EXPECT_THAT(Matches(*SplitPattern::FromRegex("."), "a\n\u2028"), ElementsAre("a", "\u2028"));
  EXPECT_THAT(Matches(*SplitPattern::FromRegex("(?i:'s)x?"), "'S'\u017fx"), ElementsAre("'S", "'\u017fx"));
  EXPECT_THAT(Matches(*SplitPattern::FromRegex("a{,2}b"), "aaab"), ElementsAre("aab"));
  EXPECT_THAT(Matches(*SplitPattern::FromRegex("{b}"), "{b}"), ElementsAre("{b}"));
  EXPECT_THAT(Matches(*SplitPattern::FromRegex(R"([\]\-\\a-c^]+)"), "x]-\\b^"), ElementsAre("]-\\b^"));
  EXPECT_THAT(Matches(*SplitPattern::FromRegex(R"(\x{e9}|\u0041|\x42)"), "éAB"), ElementsAre("é", "A", "B"));
  EXPECT_THAT(Matches(*SplitPattern::FromRegex(R"(\p{^L}+|\P{L})"), "a1b"), ElementsAre("1"));
}

TEST(SplitPattern, WhatIsNotUnderstoodIsRefusedByName) {
  for (const char* regex : {"[[:alpha:]]", "[a&&b]", "(a)\\1", "\\bx", "\\p{Han}", "(?<n>a)", "a**", "(?m)a", "[z-a]", "(a", "a)", "[]", "+", "a{3}?",
                            "\\G", "\\xff", "[a", "(?i:é)", "\\", "a{2000}", "(?<=a+)b"}) {
    try {
      SplitPattern::FromRegex(regex);
      ADD_FAILURE() << regex;
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr("regex '")) << regex;
    }
  }
}

TEST(SplitPattern, AMillionBlanksTakeLinearTime) {
  for (const char* regex : {kGpt2Regex, kLlama3Regex, kDeepSeekV3Regex, R"(\s+$)"}) {
    const std::string text = std::string(1000000, ' ') + "x";
    EXPECT_LE(Matches(*SplitPattern::FromRegex(regex), text).size(), 3u);
  }
}

}  // namespace
}  // namespace fathom
