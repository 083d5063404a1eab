#include "engine/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <regex>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "engine/ebnf.h"
#include "engine/grammar_walk.h"
#include "engine/regex_grammar.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

GrammarCompiler& Compiler() {
  static const ByteTokenizer tokenizer;
  static GrammarCompiler compiler(tokenizer, 257, std::vector<int32_t>{ByteTokenizer::kEnd});
  return compiler;
}

std::shared_ptr<const Grammar> Compile(const std::string& ebnf) { return Compiler().Compile({ebnf}); }

std::shared_ptr<const Grammar> CompileRegex(const std::string& regex) { return Compile("root ::= " + RegexToEbnf(regex, RegexPlace::kText, "regex") + "\n"); }

bool Takes(const std::shared_ptr<const Grammar>& grammar, const std::string& text) {
  GrammarMatcher matcher(grammar);
  for (const char c : text) {
    if (!matcher.Accept(static_cast<unsigned char>(c))) return false;
  }
  return matcher.MayEnd();
}

std::string ErrorOf(const std::function<void()>& work) {
  try {
    work();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Grammar, LetsWhatCanStillBecomeAText) {
  const auto grammar = Compile("root ::= \"ab\" [0-9]{1,2} \"c\"? \n");
  GrammarMatcher matcher(grammar);
  EXPECT_EQ(Allowed(matcher, 257), std::vector<int32_t>{'a'});
  EXPECT_FALSE(matcher.Accept('b'));
  EXPECT_TRUE(matcher.Accept('a'));
  EXPECT_TRUE(matcher.Accept('b'));
  EXPECT_EQ(Allowed(matcher, 257).size(), 10u);
  EXPECT_FALSE(matcher.MayEnd());
  EXPECT_TRUE(matcher.Accept('7'));
  EXPECT_TRUE(matcher.MayEnd());
  EXPECT_EQ(Allowed(matcher, 257).size(), 11u);
  EXPECT_TRUE(matcher.Accept('c'));
  EXPECT_TRUE(matcher.MayEnd());
  EXPECT_TRUE(Allowed(matcher, 257).empty());
}

TEST(Grammar, AMaskHoldsExactlyTheTokensThatAreAccepted) {
  const auto grammar = CompileRegex("(ab|a(c|d)+|é[x-z]{2,3})*q?");
  std::mt19937_64 random(3);
  GrammarMatcher matcher(grammar);
  for (int step = 0; step < 60; ++step) {
    const std::vector<int32_t> allowed = Allowed(matcher, 257);
    for (int32_t token = 0; token < 257; ++token) {
      const bool is_in = std::find(allowed.begin(), allowed.end(), token) != allowed.end();
      ASSERT_EQ(matcher.Accept(token), is_in) << "step " << step << " token " << token;
      if (is_in) matcher.Rollback(1);
    }
    if (allowed.empty()) break;
    matcher.Accept(allowed[random() % allowed.size()]);
  }
}

TEST(Grammar, ARollbackLeavesWhatWasThereBefore) {
  EbnfWriter writer;
  const std::string object = writer.Json("object");
  const auto grammar = Compile(writer.Text(object));
  std::mt19937_64 random(5);
  GrammarMatcher plain(grammar), rolled(grammar);
  for (int step = 0; step < 200; ++step) {
    int64_t ahead = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(random() % 6); ++i) {
      const auto allowed = Allowed(rolled, 257);
      if (allowed.empty()) break;
      ASSERT_TRUE(rolled.Accept(allowed[random() % allowed.size()]));
      ++ahead;
    }
    rolled.Rollback(ahead);
    ASSERT_EQ(Allowed(rolled, 257), Allowed(plain, 257)) << step;
    ASSERT_EQ(rolled.MayEnd(), plain.MayEnd());
    const auto allowed = Allowed(plain, 257);
    if (allowed.empty()) break;
    const int32_t token = allowed[random() % allowed.size()];
    ASSERT_TRUE(plain.Accept(token));
    ASSERT_TRUE(rolled.Accept(token));
  }
}

TEST(Grammar, PartsFollowEachOther) {
  const auto grammar = Compiler().Compile({"root ::= " + EbnfUntil("</think>") + "\n", "root ::= x\nx ::= \"yes\" | \"no\"\n"});
  EXPECT_TRUE(Takes(grammar, "a < b </thin </think>no"));
  EXPECT_TRUE(Takes(grammar, "</think>yes"));
  EXPECT_FALSE(Takes(grammar, "yes"));
  EXPECT_FALSE(Takes(grammar, "</think>"));
  EXPECT_FALSE(Takes(grammar, "</think></think>no"));
}

TEST(Grammar, TheEndTokenIsNoText) {
  const auto grammar = CompileRegex("[^a]*");
  GrammarMatcher matcher(grammar);
  EXPECT_FALSE(matcher.Accept(ByteTokenizer::kEnd));
  const auto allowed = Allowed(matcher, 257);
  EXPECT_EQ(std::count(allowed.begin(), allowed.end(), ByteTokenizer::kEnd), 0);
}

TEST(Grammar, RandomTextsMatchTheirExpression) {
  for (const char* regex : {"[a-c]+x?(yy|z){2}", "\\d{3}-\\d{4}", "(foo|bar)(,(foo|bar))*", "[^\\W\\d_]{1,4}\\s\\S", "a{0,3}b{2}c{1,}", "(?:x|(?<n>y))*?z", "[\\x41-\\x43\\u0044]+", "^(ab)+$|^c$",
                            "[-+]?[.]?[]a]", "\\.\\*\\\\n"}) {
    const auto grammar = CompileRegex(regex);
    int num_ended = 0;
    for (uint64_t seed = 0; seed < 30; ++seed) {
      const Walk walk = RandomWalk(grammar, ByteTokenizer(), seed, 200);
      if (!walk.has_ended) continue;
      ++num_ended;
      std::string plain = regex;
      if (const size_t at = plain.find("?<n>"); at != std::string::npos) plain.erase(at, 4);
      if (plain.find("[]a]") != std::string::npos) plain = "[-+]?[.]?(\\]|a)";
      EXPECT_TRUE(std::regex_match(walk.text, std::regex(plain))) << regex << " against '" << walk.text << "'";
    }
    EXPECT_GT(num_ended, 20) << regex;
  }
}

TEST(Grammar, SaysWhatIsWrongWithAnExpression) {
  for (const auto& [regex, cause] : std::vector<std::pair<std::string, std::string>>{
           {"(a", "a ( without its )"}, {"a)", "a ) too many"}, {"[a", "a [ without its ]"}, {"a(?=b)", "looks ahead"}, {"(?<!a)b", "looks behind"}, {"\\bword", "\\b, which is not offered"},
           {"(a)\\1", "\\1, which is not offered"}, {"a{5,2}", "repeats 5 to 2 times"}, {"a{99999}", "more than 10000 times"}, {"*a", "repeats nothing"}, {"a**", "repeats a repetition"}, {"a\\", "ends with a backslash"},
           {"(?i)a", "flags"}, {"a^b", "a ^ after its begin"}, {"a$b", "a $ before its end"}, {"[z-a]", "does not rise"}, {"\xff", "is not UTF-8"}, {std::string(300, '(') + std::string(300, ')'), "more than 100 groups"}}) {
    EXPECT_THAT(ErrorOf([&, r = regex] { CompileRegex(r); }), HasSubstr(cause)) << regex;
  }
}

TEST(Grammar, SaysWhatIsWrongWithEbnf) {
  EXPECT_THAT(ErrorOf([] { Compile("root ::= undefined_rule\n"); }), HasSubstr("not understood"));
  EXPECT_THAT(ErrorOf([] { Compile("other ::= \"a\"\n"); }), HasSubstr("not understood"));
  EXPECT_THAT(ErrorOf([] { Compile("root ::= \"a"); }), HasSubstr("not understood"));
  EXPECT_THAT(ErrorOf([] { Compile("root ::= " + std::string(5000, '(') + "\"a\"" + std::string(5000, ')')); }), HasSubstr("parentheses"));
  EXPECT_THAT(ErrorOf([] { Compile(std::string("root ::= \"a\0\"", 13)); }), HasSubstr("zero byte"));
  EXPECT_THAT(ErrorOf([] { Compile("root ::= root \"a\"\n"); }), HasSubstr("lets no text at all"));
}

TEST(Grammar, WhatCostsTooMuchIsRefusedInTime) {
  const ByteTokenizer tokenizer;
  GrammarCompiler compiler(tokenizer, 257, {}, {.most_cpu_s = 0.5, .most_bytes = 64 << 20});
  const auto refused = [&](const std::string& ebnf) { return ErrorOf([&] { compiler.Compile({ebnf}); }); };
  const auto repeated = [](const std::string& regex) { return "root ::= " + RegexToEbnf(regex, RegexPlace::kText, "regex") + "\n"; };
  EXPECT_THAT(refused(repeated("((((((a{0,100}b?){0,100}){0,100}c?){0,100}){0,100}d?){0,100}b)*")), ::testing::AnyOf(HasSubstr("more than"), ""));
  std::string chain = "root ::= a0\n";
  for (int i = 0; i < 20000; ++i) chain += fmt::format("a{} ::= a{} | \"x\" a{}\n", i, i + 1, i + 1);
  chain += "a20000 ::= \"z\"\n";
  EXPECT_THAT(refused(chain), ::testing::AnyOf(HasSubstr("more than"), HasSubstr("20002 rules")));
  std::string wide = "root ::= \"x\"";
  for (int i = 0; i < 30000; ++i) wide += fmt::format(" | \"{}\"", i * 7919);
  EXPECT_THAT(refused(wide + "\n"), ::testing::AnyOf(HasSubstr("more than"), ""));
  // The compiler is good for the next one.
  EXPECT_EQ(refused("root ::= \"a\"\n"), "");
}

TEST(Grammar, AnAmbiguousGrammarFailsTheAnswerAndNotTheProgram) {
  const auto grammar = Compile("root ::= root root root | \"a\" | \"aa\" | \"\"\n");
  GrammarMatcher matcher(grammar);
  std::string error;
  for (int i = 0; i < 3000 && error.empty(); ++i) {
    error = ErrorOf([&] {
      Allowed(matcher, 257);
      matcher.Accept('a');
    });
  }
  EXPECT_THAT(error, HasSubstr("too ambiguous"));
}

TEST(Grammar, OneThatWasCompiledIsKeptWithinTheLimit) {
  const ByteTokenizer tokenizer;
  GrammarCompiler compiler(tokenizer, 257, {}, {.most_cached_bytes = 1});
  const auto first = compiler.Compile({"root ::= \"a\"\n"});
  EXPECT_EQ(compiler.Compile({"root ::= \"a\"\n"}), first);
  compiler.Compile({"root ::= \"b\"\n"});
  EXPECT_NE(compiler.Compile({"root ::= \"a\"\n"}), first) << "the older one had to go";
}

TEST(Grammar, ACharacterSetIsTakenAsItsUtf8AndNothingElse) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 60; ++round) {
    CharacterSet set;
    for (int i = 0; i < 3; ++i) {
      const uint32_t first = static_cast<uint32_t>(random() % (round % 2 == 0 ? 0x10FFFF : 0x900)) + 1;
      set.Add(first, std::min<uint32_t>(first + static_cast<uint32_t>(random() % (round % 3 == 0 ? 0x30 : 0x20000)), 0x10FFFF));
    }
    set = set.Without({{0xD800, 0xDFFF}});
    if (set.empty()) continue;
    const auto grammar = Compile("root ::= " + set.Ebnf() + "\n");
    for (uint64_t seed = 0; seed < 40; ++seed) {
      const Walk walk = RandomWalk(grammar, ByteTokenizer(), seed, 10);
      ASSERT_TRUE(walk.has_ended && IsValidUtf8(walk.text)) << set.Ebnf();
      EXPECT_TRUE(set.Contains(DecodeUtf8(walk.text).code_point)) << set.Ebnf();
    }
    for (int i = 0; i < 40; ++i) {
      const uint32_t character = static_cast<uint32_t>(random() % 0x10FFFF) + 1;
      if (character >= 0xD800 && character <= 0xDFFF) continue;
      std::string text;
      AppendUtf8(text, character);
      EXPECT_EQ(Takes(grammar, text), set.Contains(character)) << set.Ebnf() << " " << character;
    }
  }
}

TEST(Grammar, JsonTextsParse) {
  EbnfWriter writer;
  const auto grammar = Compile(writer.Text(writer.Json("value")));
  int num_ended = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Walk walk = RandomWalk(grammar, ByteTokenizer(), seed);
    if (!walk.has_ended) continue;
    ++num_ended;
    EXPECT_TRUE(Json::accept(walk.text)) << walk.text;
    EXPECT_TRUE(IsValidUtf8(walk.text));
  }
  EXPECT_GT(num_ended, 150);
}

}  // namespace
}  // namespace fathom
