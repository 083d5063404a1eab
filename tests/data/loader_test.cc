#include "data/loader.h"

#include <gmock/gmock.h>

#include <map>
#include <numeric>
#include <set>

#include "data/corpus.h"
#include "data/random_order.h"
#include "data/small_corpus.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::Documents;
using testing::SourceOf;
using testing::UserErrorOf;

class Loading : public ::testing::Test {
 protected:
  Loading() : tokenizer_path_(testing::WriteTokenizer(root() / "tok")) {
    testing::WriteJsonLines(root() / "code.jsonl", Documents(80, "code"));
    testing::WriteJsonLines(root() / "text.jsonl", Documents(240, "text"));
    spec_.sources = {SourceOf(root() / "code.jsonl", "code"), SourceOf(root() / "text.jsonl", "general")};
    for (SourceSpec& source : spec_.sources) source.epochs = 1;
  }
  const fs::path& root() const { return folder_.path(); }
  std::shared_ptr<const Dataset> Open(int num_threads = 2) const { return Dataset::Open(spec_, tokenizer_path_, {.cache = root() / "cache", .num_threads = num_threads}); }

  // Documents of the tokens of all rows, cut at EOS; the texts of `texts` that are not wholly there are missing.
  static std::multiset<std::string> TextsOf(DataLoader& loader, int64_t num_rows) {
    const Tokenizer& tokenizer = *loader.dataset().tokenizer;
    std::vector<int32_t> document;
    std::multiset<std::string> texts;
    while (const auto batch = loader.Next(num_rows))
      for (const int64_t token : batch->tokens) {
        if (token != tokenizer.eos_id()) {
          document.push_back(static_cast<int32_t>(token));
          continue;
        }
        texts.insert(tokenizer.Decode(document, false));
        document.clear();
      }
    EXPECT_TRUE(document.empty());
    return texts;
  }
  std::multiset<std::string> AllTexts() const {
    std::multiset<std::string> texts;
    for (const auto& text : Documents(80, "code")) texts.insert(text);
    for (const auto& text : Documents(240, "text")) texts.insert(text);
    return texts;
  }

  TemporaryFolder folder_;
  fs::path tokenizer_path_;
  DataSpec spec_;
};

std::vector<Batch> TakeBatches(DataLoader& loader, int64_t num_rows, int count) {
  std::vector<Batch> batches;
  for (int i = 0; i < count; ++i) {
    auto batch = loader.Next(num_rows);
    if (!batch) break;
    batches.push_back(std::move(*batch));
  }
  return batches;
}

void ExpectEqual(const Batch& a, const Batch& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.targets, b.targets);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_EQ(a.lens, b.lens);
  EXPECT_EQ(a.domain_tokens, b.domain_tokens);
  EXPECT_EQ(a.target_bytes, b.target_bytes);
  EXPECT_EQ(a.num_targets, b.num_targets);
}

TEST(RandomOrder, IsAPermutationOfEverySize) {
  for (const uint64_t size : {1u, 2u, 3u, 5u, 16u, 17u, 100u, 1000u}) {
    std::set<uint64_t> seen;
    const RandomOrder order(size, 99);
    for (uint64_t i = 0; i < size; ++i) seen.insert(order.At(i));
    EXPECT_EQ(seen.size(), size);
    EXPECT_LT(*seen.rbegin(), size);
  }
}

TEST(RandomOrder, MixesWellAndDiffersByKey) {
  constexpr uint64_t kSize = 5000;
  const RandomOrder a(kSize, 1), b(kSize, 2);
  uint64_t num_fixed = 0, num_equal = 0, num_neighbours = 0;
  double distance = 0;
  for (uint64_t i = 0; i < kSize; ++i) {
    num_fixed += a.At(i) == i;
    num_equal += a.At(i) == b.At(i);
    if (i + 1 < kSize) num_neighbours += a.At(i + 1) == a.At(i) + 1;
    distance += std::abs(static_cast<double>(a.At(i)) - static_cast<double>(i)) / kSize;
  }
  EXPECT_LT(num_fixed, 8u);
  EXPECT_LT(num_equal, 8u);
  EXPECT_LT(num_neighbours, 8u);
  EXPECT_NEAR(distance / kSize, 1.0 / 3, 0.02);  // of two uniform numbers
}

TEST_F(Loading, ReadsEveryTokenOfEveryDocumentOnceAnEpoch) {
  for (const bool mask : {false, true}) {
    spec_.document_mask = mask;
    DataLoader loader(Open(), {.sequence_length = 37, .seed = 5});
    EXPECT_EQ(TextsOf(loader, 3), AllTexts());
    EXPECT_EQ(loader.num_tokens_read(), loader.dataset().num_tokens + 320);  // and an EOS each
    EXPECT_FALSE(loader.Next(1).has_value());
  }
}

TEST_F(Loading, RepeatsASourceAsOftenAsItMay) {
  spec_.sources[0].epochs = 2.5;
  DataLoader loader(Open(), {.sequence_length = 64, .seed = 5});
  std::multiset<std::string> expected = AllTexts();
  const auto texts = TextsOf(loader, 4);
  EXPECT_EQ(texts.size(), 240u + 200u);
  for (const auto& text : Documents(80, "code")) {
    EXPECT_GE(texts.count(text), 2u);
    EXPECT_LE(texts.count(text), 3u);
  }
  EXPECT_DOUBLE_EQ(loader.epochs_read()[0], 2.5);
}

TEST_F(Loading, GivesTheNextTokenAsTarget) {
  DataLoader loader(Open(), {.sequence_length = 29, .seed = 1});
  std::vector<int64_t> tokens, targets;
  for (const Batch& batch : TakeBatches(loader, 5, 1000)) {
    tokens.insert(tokens.end(), batch.tokens.begin(), batch.tokens.end());
    targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
    ASSERT_EQ(batch.tokens.size(), batch.targets.size());
    ASSERT_EQ(batch.tokens.size(), batch.positions.size());
    EXPECT_EQ(std::accumulate(batch.lens.begin(), batch.lens.end(), 0), std::ssize(batch.tokens));
    EXPECT_EQ(std::ssize(batch.lens), batch.num_rows);
  }
  ASSERT_EQ(targets.back(), kNoLoss);
  targets.pop_back();
  EXPECT_EQ(targets, std::vector<int64_t>(tokens.begin() + 1, tokens.end()));
}

TEST_F(Loading, WithAMaskKeepsDocumentsApart) {
  spec_.document_mask = true;
  const auto dataset = Open();
  DataLoader loader(dataset, {.sequence_length = 50, .seed = 1});
  const int64_t eos = dataset->tokenizer->eos_id();
  for (const Batch& batch : TakeBatches(loader, 4, 1000)) {
    int64_t begin = 0;
    for (const int32_t len : batch.lens) {
      for (int64_t i = begin; i < begin + len; ++i) {
        const auto at = static_cast<size_t>(i);
        EXPECT_EQ(batch.positions[at], i - begin);
        EXPECT_EQ(batch.tokens[at] == eos, batch.targets[at] == kNoLoss);
        if (i + 1 < begin + len) {
          EXPECT_EQ(batch.targets[at], batch.tokens[at + 1]);
          EXPECT_NE(batch.tokens[at], eos) << "a document ends inside of a sequence";
        }
      }
      begin += len;
    }
    EXPECT_EQ(batch.num_targets, std::ssize(batch.targets) - std::count(batch.targets.begin(), batch.targets.end(), kNoLoss));
  }
}

TEST_F(Loading, GoesOnWithTheVeryNextTokenFromAnyPosition) {
  spec_.fim.rate = 0.3;
  spec_.held_out = 0.1;
  for (SourceSpec& source : spec_.sources) source.epochs = 3;
  for (const bool mask : {false, true}) {
    spec_.document_mask = mask;
    const auto dataset = Open();
    const LoaderOptions options{.sequence_length = 23, .seed = 8};
    DataLoader loader(dataset, options);
    std::vector<Json> positions = {loader.Position()};
    std::vector<Batch> batches;
    while (auto batch = loader.Next(2)) {
      batches.push_back(std::move(*batch));
      positions.push_back(Json::parse(loader.Position().dump()));  // as a checkpoint keeps it
    }
    ASSERT_GT(batches.size(), 300u);
    for (size_t i = 0; i < batches.size(); i += i < 20 ? 1 : 17) {
      DataLoader resumed(dataset, options);
      resumed.Seek(positions[i]);
      EXPECT_EQ(resumed.Position(), positions[i]);
      for (size_t k = i; k < std::min(batches.size(), i + 3); ++k) ExpectEqual(resumed.Next(2).value(), batches[k]);
    }
    DataLoader resumed(dataset, options);
    resumed.Seek(positions.back());
    EXPECT_FALSE(resumed.Next(1).has_value());
  }
}

TEST_F(Loading, MayResumeWithOtherRowsAndLengths) {
  const auto dataset = Open();
  DataLoader loader(dataset, {.sequence_length = 30, .seed = 8});
  TakeBatches(loader, 3, 7);
  DataLoader longer(dataset, {.sequence_length = 90, .seed = 8});
  longer.Seek(loader.Position());
  EXPECT_EQ(longer.Next(1)->tokens, loader.Next(3)->tokens);
}

TEST_F(Loading, IsTheSameForOneSeedWhateverTheThreadsAndAnotherForAnother) {
  const auto one = Open(1);
  fs::remove_all(root() / "cache");
  const auto many = Open(6);
  EXPECT_EQ(one->fingerprint, many->fingerprint);
  DataLoader a(one, {.sequence_length = 40, .seed = 3}), b(many, {.sequence_length = 40, .seed = 3}), c(many, {.sequence_length = 40, .seed = 4});
  bool differs = false;
  for (int i = 0; i < 50; ++i) {
    const Batch from_a = a.Next(2).value();
    ExpectEqual(from_a, b.Next(2).value());
    differs = differs || c.Next(2)->tokens != from_a.tokens;
  }
  EXPECT_TRUE(differs);
}

TEST_F(Loading, ReadsEachEpochInAnotherOrder) {
  spec_.sources = {SourceOf(root() / "code.jsonl")};
  spec_.sources[0].epochs = 2;
  DataLoader loader(Open(), {.sequence_length = 100, .seed = 3});
  std::vector<int64_t> tokens;
  for (const Batch& batch : TakeBatches(loader, 4, 1000)) tokens.insert(tokens.end(), batch.tokens.begin(), batch.tokens.end());
  const auto half = static_cast<std::ptrdiff_t>(tokens.size() / 2);
  EXPECT_NE(std::vector<int64_t>(tokens.begin(), tokens.begin() + half), std::vector<int64_t>(tokens.begin() + half, tokens.end()));
}

TEST_F(Loading, NeverTrainsOnHeldOutDocuments) {
  spec_.held_out = 0.2;
  WriteFileAtomically(root() / "text.jsonl", ReadFile(root() / "text.jsonl") + ReadFile(root() / "code.jsonl"));  // copies in another source
  const auto dataset = Open();
  DataLoader train(dataset, {.sequence_length = 41, .seed = 5}), held_out(dataset, {.sequence_length = 41, .seed = 5, .split = Split::kHeldOut});
  const auto trained = TextsOf(train, 2), kept = TextsOf(held_out, 2);
  EXPECT_EQ(trained.size() + kept.size(), 400u);
  EXPECT_NEAR(static_cast<double>(kept.size()) / 400, 0.2, 0.08);
  for (const std::string& text : kept) {
    EXPECT_EQ(trained.count(text), 0u);
    EXPECT_TRUE(IsHeldOut(HashBytes(text), 0.2));
  }
}

TEST_F(Loading, KeepsTheSharesOfAMixtureAtEveryMoment) {
  spec_.mixture = ParseMixture("code:general 3:1", "mixture");
  for (SourceSpec& source : spec_.sources) source.epochs = 0;
  DataLoader loader(Open(), {.sequence_length = 64, .seed = 5});
  int64_t of_code = 0, all = 0;
  for (int i = 0; i < 400; ++i) {
    const Batch batch = loader.Next(4).value();
    of_code += batch.domain_tokens[0];
    all += batch.domain_tokens[0] + batch.domain_tokens[1];
    EXPECT_EQ(batch.domain_tokens[0] + batch.domain_tokens[1], std::ssize(batch.tokens));
    EXPECT_NEAR(static_cast<double>(of_code), 0.75 * static_cast<double>(all), 900) << "within about a document";
  }
}

TEST_F(Loading, SharesTheRowsOutAmongRanks) {
  const auto dataset = Open();
  DataLoader whole(dataset, {.sequence_length = 32, .seed = 5});
  DataLoader first(dataset, {.sequence_length = 32, .seed = 5, .rank = 0, .num_ranks = 2}), second(dataset, {.sequence_length = 32, .seed = 5, .rank = 1, .num_ranks = 2});
  for (int i = 0; i < 20; ++i) {
    const Batch all = whole.Next(4).value(), a = first.Next(4).value(), b = second.Next(4).value();
    for (size_t row = 0; row < 4; ++row) {
      const Batch& part = row % 2 == 0 ? a : b;
      for (size_t k = 0; k < 32; ++k) EXPECT_EQ(part.tokens[row / 2 * 32 + k], all.tokens[row * 32 + k]);
    }
    EXPECT_EQ(first.Position(), whole.Position());
    EXPECT_EQ(second.Position(), whole.Position());
  }
}

TEST_F(Loading, CountsTheBytesThatTargetsStandFor) {
  const auto dataset = Open();
  DataLoader loader(dataset, {.sequence_length = 32, .seed = 5});
  int64_t target_bytes = 0, text_bytes = 0;
  std::string first;
  for (const Batch& batch : TakeBatches(loader, 4, 10000)) {
    if (first.empty()) first = dataset->tokenizer->TokenBytes(static_cast<int32_t>(batch.tokens[0]));
    target_bytes += batch.target_bytes;
  }
  for (const DatasetSource& source : dataset->sources) text_bytes += source.corpus->index().num_bytes();
  EXPECT_EQ(target_bytes, text_bytes - std::ssize(first));
}

TEST_F(Loading, FillsInTheMiddleOfItsShareOfDocuments) {
  spec_.fim.rate = 0.25;
  const auto dataset = Open();
  const Tokenizer& tokenizer = *dataset->tokenizer;
  DataLoader loader(dataset, {.sequence_length = 1 << 20, .seed = 5});
  const Batch batch = loader.Next(1).value();
  std::multiset<std::string> texts;
  std::map<int64_t, std::vector<int32_t>> parts;  // by the token that begins them; -1: none
  int64_t part = -1, num_fim = 0;
  const auto text_of = [&](const char* name) { return tokenizer.Decode(parts[tokenizer.TokenToId(name)], false); };
  for (const int64_t token : batch.tokens) {
    if (token == tokenizer.eos_id()) {
      if (part >= 0) {
        ++num_fim;
        EXPECT_EQ(part, tokenizer.TokenToId("<｜fim▁end｜>"));
        texts.insert(text_of("<｜fim▁begin｜>") + text_of("<｜fim▁end｜>") + text_of("<｜fim▁hole｜>"));
      } else {
        texts.insert(tokenizer.Decode(parts[-1], false));
      }
      parts.clear();
      part = -1;
    } else if (tokenizer.IsSpecial(static_cast<int32_t>(token))) {
      EXPECT_EQ(token, tokenizer.TokenToId(part < 0 ? "<｜fim▁begin｜>" : part == tokenizer.TokenToId("<｜fim▁begin｜>") ? "<｜fim▁hole｜>" : "<｜fim▁end｜>"));
      part = token;
    } else {
      parts[part].push_back(static_cast<int32_t>(token));
    }
  }
  EXPECT_EQ(texts, AllTexts());
  EXPECT_NEAR(static_cast<double>(num_fim) / 320, 0.25, 0.08);
}

TEST_F(Loading, PutsABosInFrontWhereItIsAskedTo) {
  spec_.add_bos = true;
  const auto dataset = Open();
  DataLoader loader(dataset, {.sequence_length = 1 << 20, .seed = 5});
  const Batch batch = loader.Next(1).value();
  EXPECT_EQ(batch.tokens[0], dataset->tokenizer->bos_id());
  EXPECT_EQ(std::count(batch.tokens.begin(), batch.tokens.end(), dataset->tokenizer->bos_id()), 320);
}

TEST_F(Loading, RefusesAPositionOfOtherDataOrAnotherSeed) {
  const auto dataset = Open();
  DataLoader loader(dataset, {.sequence_length = 32, .seed = 5});
  loader.Next(3);
  const Json position = loader.Position();
  DataLoader other_seed(dataset, {.sequence_length = 32, .seed = 6});
  EXPECT_THAT(UserErrorOf([&] { other_seed.Seek(position); }), HasSubstr("belongs to the seed 5"));
  for (const char* key : {"version", "dataset", "seed", "split", "tokens_read", "sources", "document"}) {
    Json damaged = position;
    damaged.erase(key);
    EXPECT_NE(UserErrorOf([&] { loader.Seek(damaged); }), "") << key;
    damaged[key] = "x";
    EXPECT_NE(UserErrorOf([&] { loader.Seek(damaged); }), "") << key;
  }
  Json far = position;
  far["document"]["offset"] = 1 << 30;
  EXPECT_THAT(UserErrorOf([&] { loader.Seek(far); }), HasSubstr("of a document of"));
  spec_.sources.pop_back();
  DataLoader other_data(Open(), {.sequence_length = 32, .seed = 5});
  EXPECT_THAT(UserErrorOf([&] { other_data.Seek(position); }), HasSubstr("in other data"));
}

TEST_F(Loading, MeasuresChangedSharesFromThatMoment) {
  for (SourceSpec& source : spec_.sources) source.epochs = 0;
  DataLoader loader(Open(), {.sequence_length = 64, .seed = 5});
  TakeBatches(loader, 4, 100);
  spec_.mixture = ParseMixture("code:general 9:1", "mixture");
  DataLoader changed(Open(), {.sequence_length = 64, .seed = 5});
  changed.Seek(loader.Position());
  int64_t of_code = 0;
  for (const Batch& batch : TakeBatches(changed, 4, 100)) of_code += batch.domain_tokens[0];
  EXPECT_NEAR(static_cast<double>(of_code) / (100 * 4 * 64), 0.9, 0.04);
}

TEST_F(Loading, SaysWhenASplitHasNothingOrFimHasNoTokens) {
  EXPECT_THAT(UserErrorOf([&] { DataLoader(Open(), {.sequence_length = 8, .split = Split::kHeldOut}); }), HasSubstr("no document is held out"));
  spec_.fim = {.rate = 0.1, .begin = "<a>", .hole = "<b>", .end = "<c>"};
  EXPECT_THAT(UserErrorOf([&] { DataLoader(Open(), {.sequence_length = 8}); }), HasSubstr("has not all of the tokens '<a>'"));
}

}  // namespace
}  // namespace fathom
