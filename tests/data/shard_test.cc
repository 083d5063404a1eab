#include "data/shard.h"

#include <gmock/gmock.h>

#include <cstring>

#include "data/corpus.h"
#include "data/small_corpus.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;
using testing::UserErrorOf;

// The bytes of a shard with documents of 1, 2, ... tokens, aligned as a mapped file is.
std::vector<uint64_t> ShardBytes(uint32_t vocab_size, int num_documents, size_t& num_bytes) {
  TemporaryFolder folder;
  ShardWriter writer(77, vocab_size);
  int32_t next = 0;
  for (int i = 1; i <= num_documents; ++i) {
    std::vector<int32_t> tokens;
    for (int k = 0; k < i; ++k) tokens.push_back(next++ % static_cast<int32_t>(vocab_size));
    writer.Add(tokens, static_cast<uint64_t>(i) * 1000, static_cast<uint64_t>(i));
  }
  writer.Write(folder.path() / "s");
  const std::string bytes = ReadFile(folder.path() / "s");
  num_bytes = bytes.size();
  std::vector<uint64_t> aligned((bytes.size() + 7) / 8);
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  return aligned;
}

ShardView Parse(const std::vector<uint64_t>& aligned, size_t num_bytes) { return ParseShard({reinterpret_cast<const std::byte*>(aligned.data()), num_bytes}, "s"); }

TEST(Shard, GivesBackWhatWasWrittenInTwoOrFourBytes) {
  for (const uint32_t vocab_size : {100u, 65536u, 65537u, 200000u}) {
    size_t num_bytes = 0;
    const auto bytes = ShardBytes(vocab_size, 20, num_bytes);
    const ShardView view = Parse(bytes, num_bytes);
    EXPECT_EQ(view.token_bytes, vocab_size <= 65536 ? 2u : 4u);
    EXPECT_EQ(view.num_tokens, 210u);
    ASSERT_EQ(view.documents.size(), 20u);
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < 20; ++i) {
      EXPECT_EQ(view.documents[static_cast<size_t>(i)].text_hash, static_cast<uint64_t>(i + 1) * 1000);
      view.Append(view.Begin(i), view.documents[static_cast<size_t>(i)].end, tokens);
      EXPECT_EQ(std::ssize(tokens), (i + 1) * (i + 2) / 2);
    }
    for (int32_t i = 0; i < 210; ++i) EXPECT_EQ(tokens[static_cast<size_t>(i)], i % static_cast<int32_t>(vocab_size));
  }
}

TEST(Shard, RefusesEveryBitThatIsTurnedAndEveryLength) {
  size_t num_bytes = 0;
  auto bytes = ShardBytes(100, 5, num_bytes);
  Parse(bytes, num_bytes);
  auto* raw = reinterpret_cast<unsigned char*>(bytes.data());
  for (size_t i = 0; i < num_bytes; ++i) {
    raw[i] ^= 1u << (i % 8);
    EXPECT_NE(UserErrorOf([&] { Parse(bytes, num_bytes); }), "") << "byte " << i;
    raw[i] ^= 1u << (i % 8);
  }
  for (size_t size = 0; size < num_bytes; ++size) EXPECT_NE(UserErrorOf([&] { Parse(bytes, size); }), "") << size;
}

TEST(CorpusIndex, IsReadBackAndRefusesLies) {
  CorpusIndex index{.tokenizer_hash = 0xABCDEF, .vocab_size = 300, .unit = DocumentUnit::kLine, .shard_tokens = 10, .inputs = {{"a.txt", FileFormat::kText, 5, 6}},
                    .shards = {{"shard-00000.tokens", 2, 30, 100, 9}}, .num_rejected = 1, .complete = true};
  const std::string text = DumpCorpusIndex(index);
  const CorpusIndex again = ParseCorpusIndex(text, "corpus.json");
  EXPECT_EQ(DumpCorpusIndex(again), text);
  EXPECT_EQ(again.fingerprint(), index.fingerprint());
  const auto with = [&](const char* key, const Json& value) {
    Json json = Json::parse(text);
    json[Json::json_pointer(key)] = value;
    return UserErrorOf([&] { ParseCorpusIndex(json.dump(), "corpus.json"); });
  };
  EXPECT_THAT(with("/version", 2), HasSubstr("no corpus of version 1"));
  EXPECT_THAT(with("/shards/0/file", "../x"), HasSubstr("is no name of a file"));
  EXPECT_THAT(with("/shards/0/tokens", -1), HasSubstr("must be an integer"));
  EXPECT_THAT(with("/shards/0/checksum", "xyz"), HasSubstr("hexadecimal"));
  EXPECT_THAT(with("/documents", "word"), HasSubstr("must be file, line"));
  EXPECT_THAT(with("/next_file", 2), HasSubstr("next_file"));
  EXPECT_THAT(with("/complete", 1), HasSubstr("true or false"));
}

TEST(HeldOut, TakesItsShareOfTheDocumentsByTheirTextAlone) {
  int64_t count = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const uint64_t hash = HashBytes(std::to_string(i));
    count += IsHeldOut(hash, 0.1);
    if (IsHeldOut(hash, 0.05)) {
      EXPECT_TRUE(IsHeldOut(hash, 0.1));
    }
    EXPECT_FALSE(IsHeldOut(hash, 0));
  }
  EXPECT_NEAR(static_cast<double>(count) / 20000, 0.1, 0.01);
}

}  // namespace
}  // namespace fathom
