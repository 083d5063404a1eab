#include "places.h"
#include "text/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

WordCounts CountsOf(const std::vector<std::string>& texts, const std::string& family) {
  WordCounts counts;
  const WordSplitter splitter(family);
  for (const std::string& text : texts) splitter.Count(text, counts);
  return counts;
}

TEST(BpeTrainer, LearnsWhatHuggingFacesTrainerLearns) {
  const Json cases = ReadJsonFile(SourceFolder() / "tests/text/data/bpe_goldens.json");
  ASSERT_GE(cases.size(), 7u);
  for (const Json& golden : cases) {
    const auto special = golden["special_tokens"].get<std::vector<std::string>>();
    const TrainedBpe trained = TrainBpe(CountsOf(golden["texts"].get<std::vector<std::string>>(), golden["family"]),
                                        {.vocab_size = golden["vocab_size"], .min_frequency = golden["min_frequency"], .special_tokens = special});
    const std::vector<std::string> learned(trained.tokens.begin() + std::ssize(special) + 256, trained.tokens.end());
    EXPECT_EQ(learned, golden["learned"].get<std::vector<std::string>>()) << golden["family"] << " " << golden["vocab_size"];
    EXPECT_EQ(VocabularyOf(trained, golden["family"], special, special[0], special[1], "").merges, golden["merges"].get<std::vector<std::string>>());
  }
}

TEST(BpeTrainer, MergesTheMostFrequentPairAndOfEqualOnesTheLowerIds) {
  WordCounts words;
  words.Add("ab", 3);
  words.Add("cd", 3);
  words.Add("xyz", 2);
  const TrainedBpe trained = TrainBpe(words, {.vocab_size = 259});
  EXPECT_THAT(std::vector<std::string>(trained.tokens.begin() + 256, trained.tokens.end()), ::testing::ElementsAre("ab", "cd", "xy"));
}

TEST(BpeTrainer, StopsWhereTheTextHasNoMorePairs) {
  WordCounts words;
  words.Add("abc", 1);
  EXPECT_EQ(TrainBpe(words, {.vocab_size = 1000}).tokens.size(), 258u);
  EXPECT_EQ(TrainBpe(words, {.vocab_size = 1000, .min_frequency = 2}).tokens.size(), 256u);
  EXPECT_EQ(TrainBpe({}, {.vocab_size = 1000}).tokens.size(), 256u);
  EXPECT_THROW(TrainBpe(words, {.vocab_size = 256, .special_tokens = {"<eos>"}}), UserError);
}

TEST(BpeTrainer, MakesATokenizerThatGivesEveryByteBack) {
  const std::vector<std::string> special = {"<bos>", "<eos>"};
  const TrainedBpe trained = TrainBpe(CountsOf({"the theme of the thesis", "文字 文字"}, "deepseek-v3"), {.vocab_size = 280, .special_tokens = special});
  const GgufVocabulary vocabulary = VocabularyOf(trained, "deepseek-v3", special, "<bos>", "<eos>", "");
  const auto tokenizer = Tokenizer::FromJson(HubTokenizer(vocabulary).dump(), HubTokenizerConfig(vocabulary, 100).dump());
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_id(), 1);
  for (const std::string text : {"the thesis", "a\tb\n\xF0\x9F\x98\x80 文字 \x01"}) EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text, {}), false), text);
  EXPECT_LT(tokenizer->Encode("the theme", {}).size(), 9u);
}

TEST(WordSplitter, RefusesAFamilyThatItDoesNotKnow) { EXPECT_THROW(WordSplitter("no such"), UserError); }

}  // namespace
}  // namespace fathom
