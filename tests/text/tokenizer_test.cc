#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/gguf.h"
#include "base/json.h"
#include "text/byte_alphabet.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// All 256 bytes, "ab", "abc" and one special token.
Json SmallTokenizer() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[AlphabetTextOfBytes(std::string(1, static_cast<char>(byte)))] = byte;
  vocabulary["ab"] = 256;
  vocabulary["abc"] = 257;
  vocabulary["aa"] = 258;
  vocabulary["aaaa"] = 259;
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"added_tokens", Json::array({{{"id", 260}, {"content", "<s>"}, {"special", true}, {"normalized", false}}})},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", "ab c", "a a", "aa aa"}}}}};
}

std::shared_ptr<const Tokenizer> Make(const Json& json, const std::string& config = "") {
  return Tokenizer::FromJson(json.dump(), config);
}

std::string ErrorOf(const Json& json, const std::string& config = "") {
  try {
    Make(json, config);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Tokenizer, MergesByRankThenFromTheLeft) {
  const auto tokenizer = Make(SmallTokenizer());
  EXPECT_THAT(tokenizer->Encode("abc", {}), ElementsAre(257));
  EXPECT_THAT(tokenizer->Encode("aab", {}), ElementsAre('a', 256));
  EXPECT_THAT(tokenizer->Encode("aaa", {}), ElementsAre(258, 'a'));
  EXPECT_THAT(tokenizer->Encode("", {}), IsEmpty());
}

TEST(Tokenizer, LongPiecesGiveTheIdsOfShortOnes) {
  const auto tokenizer = Make(SmallTokenizer());
  for (size_t size = 1; size < 200; ++size) {
    std::vector<int32_t> expected(size / 4, 259);
    if (size % 4 >= 2) expected.push_back(258);
    if (size % 2 == 1) expected.push_back('a');
    EXPECT_EQ(tokenizer->Encode(std::string(size, 'a'), {}), expected) << size;
  }
  EXPECT_EQ(tokenizer->Encode(std::string(1000000, 'a'), {}), std::vector<int32_t>(250000, 259));
}

TEST(Tokenizer, InvalidUtf8IsReadAsReplacementCharacters) {
  const auto tokenizer = Make(SmallTokenizer());
  for (const auto& [bytes, text] : std::vector<std::pair<std::string, std::string>>{
           {"a\xFF", "a\uFFFD"}, {"\xE2\x82", "\uFFFD"}, {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"}, {"\xC3<s>", "\uFFFD<s>"}})
    EXPECT_EQ(tokenizer->Encode(bytes, {}), tokenizer->Encode(text, {}));
}

TEST(Tokenizer, SpecialTokensAreMatchedOnlyWhereAsked) {
  const auto tokenizer = Make(SmallTokenizer());
  EXPECT_THAT(tokenizer->Encode("b<s>c", {}), ElementsAre('b', 260, 'c'));
  EXPECT_THAT(tokenizer->Encode("<s>", {.match_special = false}), ElementsAre('<', 's', '>'));
  EXPECT_TRUE(tokenizer->IsSpecial(260));
  EXPECT_FALSE(tokenizer->IsSpecial('a'));
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{'b', 260}, false), "b<s>");
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{'b', 260}, true), "b");
}

TEST(Tokenizer, ConfigurationNamesBosAndEos) {
  const auto plain = Make(SmallTokenizer());
  EXPECT_EQ(plain->bos_id(), -1);
  EXPECT_THAT(plain->Encode("c", {.add_bos = true}), ElementsAre('c'));
  const auto tokenizer = Make(SmallTokenizer(), R"({"add_bos_token": true, "bos_token": {"content": "<s>"}, "eos_token": "abc"})");
  EXPECT_EQ(tokenizer->bos_id(), 260);
  EXPECT_EQ(tokenizer->eos_id(), 257);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_THAT(tokenizer->Encode("c", {.add_bos = true}), ElementsAre(260, 'c'));
  EXPECT_THAT(tokenizer->Encode("c", {}), ElementsAre('c'));
}

TEST(Tokenizer, ATemplateThatBeginsWithATokenAddsIt) {
  Json json = SmallTokenizer();
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
                            {"pair", Json::array()},
                            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {260}}, {"tokens", {"<s>"}}}}}}};
  EXPECT_TRUE(Make(json)->adds_bos());
  EXPECT_EQ(Make(json)->bos_id(), 260);
  EXPECT_FALSE(Make(json, R"({"add_bos_token": false})")->adds_bos());
}

TEST(Tokenizer, TokensHaveTheirBytes) {
  const auto tokenizer = Make(SmallTokenizer());
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(tokenizer->TokenBytes(byte), std::string(1, static_cast<char>(byte)));
  EXPECT_EQ(tokenizer->TokenBytes(257), "abc");
  EXPECT_EQ(tokenizer->TokenBytes(260), "<s>");
  EXPECT_EQ(tokenizer->TokenToId("<s>"), 260);
  EXPECT_EQ(tokenizer->TokenToId("nothing"), -1);
  EXPECT_EQ(tokenizer->vocab_size(), 261);
  EXPECT_THROW(tokenizer->Decode(std::vector<int32_t>{261}, false), UserError);
  EXPECT_THROW(tokenizer->TokenBytes(-1), UserError);
}

TEST(Tokenizer, AStreamHoldsBackHalfACharacter) {
  const auto tokenizer = Make(SmallTokenizer());
  StreamDetokenizer stream(tokenizer, false);
  EXPECT_EQ(stream.Push(0xF0), "");
  EXPECT_EQ(stream.Push(0x9F), "");
  EXPECT_EQ(stream.Push(0xA6), "");
  EXPECT_EQ(stream.Push(0x99), "\U0001F999");
  EXPECT_EQ(stream.Push(0xC3), "");
  EXPECT_EQ(stream.Push('a'), "\uFFFDa");
  EXPECT_EQ(stream.Push(0xE4), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
}

TEST(Tokenizer, WhatIsNotUnderstoodIsAnErrorThatNamesIt) {
  const auto with = [](const char* pointer, const Json& value) {
    Json json = SmallTokenizer();
    json[Json::json_pointer(pointer)] = value;
    return ErrorOf(json);
  };
  EXPECT_THAT(with("/model/type", "Unigram"), HasSubstr("'Unigram'"));
  EXPECT_THAT(with("/model/dropout", 0.1), HasSubstr("dropout"));
  EXPECT_THAT(with("/model/end_of_word_suffix", "</w>"), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(with("/model/new_key", 1), HasSubstr("'new_key'"));
  EXPECT_THAT(with("/extra", 1), HasSubstr("'extra'"));
  EXPECT_THAT(with("/normalizer", {{"type", "Nmt"}}), HasSubstr("'Nmt'"));
  EXPECT_THAT(with("/pre_tokenizer", {{"type", "BertPreTokenizer"}}), HasSubstr("'BertPreTokenizer'"));
  EXPECT_THAT(with("/pre_tokenizer/new_key", true), HasSubstr("'new_key'"));
  EXPECT_THAT(with("/decoder", {{"type", "WordPiece"}}), HasSubstr("'WordPiece'"));
  EXPECT_THAT(with("/post_processor", {{"type", "BertProcessing"}}), HasSubstr("'BertProcessing'"));
  EXPECT_THAT(with("/model/merges/0", "a q"), HasSubstr("merge 0"));
  EXPECT_THAT(with("/model/merges/0", "a"), HasSubstr("merge 0"));
  EXPECT_THAT(with("/model/vocab/ab", 3), HasSubstr("id 3"));
  EXPECT_THAT(with("/model/vocab/ab", -3), HasSubstr("'ab'"));
  EXPECT_THAT(with("/model/vocab/ab", 2000000000), HasSubstr("out of range"));
  EXPECT_THAT(with("/model/unk_token", "none"), HasSubstr("'none'"));
  EXPECT_THAT(ErrorOf(SmallTokenizer(), R"({"add_bos_token": "yes"})"), HasSubstr("add_bos_token"));
  EXPECT_THROW(Tokenizer::FromJson("{", ""), UserError);
  EXPECT_THROW(Tokenizer::Load("/nonexistent/tokenizer"), UserError);
}

GgufHeader SmallGguf(const std::string& pre) {
  GgufHeader header;
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(AlphabetTextOfBytes(std::string(1, static_cast<char>(byte))));
  std::vector<int64_t> types(256, 1);
  for (const auto& [text, type] : std::vector<std::pair<std::string, int64_t>>{
           {"ab", 1}, {"<s>", 3}, {"ü", 4}, {"[PAD259]", 4}, {"[PAD9]", 4}, {"<unused>", 5}}) {
    tokens.push_back(text);
    types.push_back(type);
  }
  header.metadata = {{"tokenizer.ggml.model", std::string("gpt2")},
                     {"tokenizer.ggml.pre", pre},
                     {"tokenizer.ggml.tokens", tokens},
                     {"tokenizer.ggml.token_type", types},
                     {"tokenizer.ggml.merges", std::vector<std::string>{"a b"}},
                     {"tokenizer.ggml.bos_token_id", uint64_t{257}},
                     {"tokenizer.ggml.add_bos_token", true}};
  return header;
}

TEST(TokenizerGguf, TokenTypesSayWhatIsMatchedInText) {
  const auto tokenizer = Tokenizer::FromGguf(SmallGguf("deepseek-llm"));
  EXPECT_THAT(tokenizer->Encode("ab<s>", {}), ElementsAre(256, 257));
  EXPECT_THAT(tokenizer->Encode("ü", {.match_special = false}), ElementsAre(258));  // user defined: no special token
  EXPECT_EQ(tokenizer->Encode("[PAD259]", {}).size(), 8u) << "a converter's filler is not matched";
  EXPECT_THAT(tokenizer->Encode("[PAD9]", {}), ElementsAre(260));
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{258, 256, 259}, false), "üab[PAD259]");
  EXPECT_EQ(tokenizer->TokenBytes(258), "ü");
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos_id(), 257);
  EXPECT_EQ(tokenizer->eos_id(), -1);
}

TEST(TokenizerGguf, EveryFamilyOfTheDocumentsIsThereAndOthersAreNamed) {
  for (const char* pre : {"gpt-2", "llama-bpe", "qwen2", "smollm", "deepseek-v3", "deepseek-llm", "deepseek-coder", "default"}) {
    const auto tokenizer = Tokenizer::FromGguf(SmallGguf(pre));
    const std::string text = "Hello ab 1234\n  \u4e2d\u56fd's \U0001F999";
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text, {}), false), text) << pre;
  }
  try {
    Tokenizer::FromGguf(SmallGguf("klingon"));
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("'klingon'"));
  }
}

TEST(TokenizerGguf, AHeaderThatLiesIsRefused) {
  GgufHeader header = SmallGguf("gpt-2");
  header.metadata["tokenizer.ggml.token_type"] = std::vector<int64_t>{1};
  EXPECT_THROW(Tokenizer::FromGguf(header), UserError);
  header = SmallGguf("gpt-2");
  header.metadata["tokenizer.ggml.merges"] = std::vector<std::string>{"a"};
  EXPECT_THROW(Tokenizer::FromGguf(header), UserError);
  header = SmallGguf("gpt-2");
  header.metadata["tokenizer.ggml.bos_token_id"] = uint64_t{99999};
  EXPECT_THROW(Tokenizer::FromGguf(header), UserError);
  header = SmallGguf("gpt-2");
  header.metadata["tokenizer.ggml.model"] = std::string("llama");
  EXPECT_THROW(Tokenizer::FromGguf(header), UserError);
}

TEST(Tokenizer, IsSafeToShareBetweenThreads) {
  const auto tokenizer = Make(SmallTokenizer());
  const std::string text = "abc aab <s> the quick\n\n brown fox 123 \U0001F999";
  const std::vector<int32_t> expected = tokenizer->Encode(text, {});
  std::vector<int> num_equal(4, 0);
  std::vector<std::thread> threads;
  for (int& count : num_equal)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += tokenizer->Encode(text, {}) == expected;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(num_equal, ElementsAre(200, 200, 200, 200));
}

}  // namespace
}  // namespace fathom
