#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace fathom {
namespace {

using namespace std::string_literals;
const std::string kR = "\xEF\xBF\xBD";

TEST(Utf8, EveryCodePointComesBack) {
  for (uint32_t c = 0; c < 0x110000; c = c == 0xD7FF ? 0xE000 : c + 1) {
    std::string text;
    AppendUtf8(text, c);
    const Utf8Step step = DecodeUtf8(text);
    ASSERT_TRUE(step.valid && step.code_point == c && step.num_bytes == text.size()) << c;
    const char* p = text.data();
    ASSERT_EQ(NextCodePoint(p), c);
    ASSERT_EQ(p, text.data() + text.size());
    ASSERT_EQ(PreviousCharacter(p), text.data());
  }
}

// Expected values: Python's bytes.decode("utf-8", "replace").
TEST(Utf8, InvalidSequencesAreReplacedByMaximalSubparts) {
  EXPECT_EQ(ReplaceInvalidUtf8("a\x80z"), "a" + kR + "z");
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\xAF"), kR + kR);
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82"), kR);
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82zz"), kR + "zz");
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), kR + kR + kR);
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98"), kR);
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98\xE4\xB8\xAD"), kR + "\xE4\xB8\xAD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80\x80"), kR + kR + kR + kR);
  EXPECT_EQ(ReplaceInvalidUtf8("\xE0\x80\x80"), kR + kR + kR);
  EXPECT_EQ(ReplaceInvalidUtf8("\xFF\xFE\0"s), kR + kR + "\0"s);
}

TEST(Utf8, ValidityAgreesWithRepair) {
  for (const std::string& text : {"plain ascii longer than eight"s, "na\xC3\xAFve"s, "\xF0\x9F\xA6\x99"s, ""s}) {
    EXPECT_TRUE(IsValidUtf8(text));
    EXPECT_EQ(ReplaceInvalidUtf8(text), text);
  }
  EXPECT_FALSE(IsValidUtf8("eight by\xC3"));
  EXPECT_TRUE(DecodeUtf8("\xF0\x9F").incomplete);
  EXPECT_FALSE(DecodeUtf8("\xF0\x9Fz").incomplete);
}

}  // namespace
}  // namespace fathom
