#include "data/tokenize.h"

#include <gmock/gmock.h>

#include <map>

#include "base/interrupted.h"
#include "data/small_corpus.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::Documents;
using testing::SourceOf;
using testing::UserErrorOf;

class Tokenizing : public ::testing::Test {
 protected:
  Tokenizing() : tokenizer_(LoadTokenizerFile(testing::WriteTokenizer(root() / "tok"))) {
    fs::create_directories(root() / "raw");
    for (int i = 0; i < 4; ++i) testing::WriteJsonLines(root() / "raw" / (std::to_string(i) + ".jsonl"), Documents(150, "file" + std::to_string(i)));
  }
  const fs::path& root() const { return folder_.path(); }
  // Every file of a folder that holds data.
  static std::map<std::string, std::string> FilesOf(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().filename() != ".lock") files[entry.path().filename().string()] = ReadFile(entry.path());
    return files;
  }

  TemporaryFolder folder_;
  TokenizerFile tokenizer_;
};

TEST_F(Tokenizing, WritesEveryDocumentInOrder) {
  TokenizeSource(SourceOf(root() / "raw"), tokenizer_, root() / "out", {.num_threads = 3, .shard_tokens = 2000});
  const auto corpus = Corpus::Open(root() / "out", 2);
  EXPECT_EQ(corpus->num_documents(), 600);
  EXPECT_GT(corpus->index().shards.size(), 3u);
  int64_t document = 0;
  for (int i = 0; i < 4; ++i)
    for (const std::string& text : Documents(150, "file" + std::to_string(i))) {
      std::vector<int32_t> tokens;
      corpus->AppendTokens(document, tokens);
      EXPECT_EQ(tokens, tokenizer_.tokenizer->Encode(text, {}));
      EXPECT_EQ(corpus->TextHashOf(document), HashBytes(text));
      EXPECT_EQ(corpus->TextBytesOf(document), std::ssize(text));
      EXPECT_EQ(corpus->TokensOf(document), std::ssize(tokens));
      ++document;
    }
}

TEST_F(Tokenizing, WritesTheSameBytesWhateverTheNumberOfThreads) {
  std::map<std::string, std::string> first;
  for (const int num_threads : {1, 2, 5}) {
    const fs::path out = root() / ("out" + std::to_string(num_threads));
    TokenizeSource(SourceOf(root() / "raw"), tokenizer_, out, {.num_threads = num_threads, .shard_tokens = 1500});
    if (first.empty()) first = FilesOf(out);
    else EXPECT_EQ(FilesOf(out), first);
  }
}

TEST_F(Tokenizing, ThatWasCutOffGoesOnToTheSameBytes) {
  WriteFileAtomically(root() / "raw/1.jsonl", ReadFile(root() / "raw/1.jsonl") + "no JSON\n{\"text\": \"after the reject\"}\n{\"text\": \"\"}\n");
  const SourceSpec source = SourceOf(root() / "raw");
  TokenizeSource(source, tokenizer_, root() / "whole", {.num_threads = 2, .shard_tokens = 1500});
  int num_stops = 0;
  for (bool complete = false; !complete;) {
    int num_asked = 0;
    try {
      complete = TokenizeSource(source, tokenizer_, root() / "parts", {.num_threads = 2, .shard_tokens = 1500, .stop = [&] { return ++num_asked > 1; }}).complete;
    } catch (const Interrupted& stopped) {
      EXPECT_THAT(stopped.what(), HasSubstr("goes on behind the last whole shard"));
      ASSERT_LT(++num_stops, 50);
      // What a crash between two shards leaves behind.
      std::ofstream(root() / "parts" / kRejectsFile, std::ios::app) << "{\"half a li";
    }
  }
  EXPECT_GT(num_stops, 1);
  EXPECT_EQ(FilesOf(root() / "parts"), FilesOf(root() / "whole"));
  EXPECT_EQ(ParseCorpusIndex(ReadFile(root() / "parts" / kCorpusIndex), "").num_rejected, 1);
}

TEST_F(Tokenizing, CountsWhatItPutsAside) {
  WriteFileAtomically(root() / "raw/bad.jsonl", "{\"text\": 1}\nrubbish\xff\n{\"text\": \"\"}\n{\"text\": \"good\"}\n");
  WriteFileAtomically(root() / "raw/binary.txt", std::string("a\0b", 3));
  const CorpusIndex index = TokenizeSource(SourceOf(root() / "raw"), tokenizer_, root() / "out", {.num_threads = 2});
  EXPECT_EQ(index.num_rejected, 3);
  EXPECT_EQ(index.num_empty, 1);
  EXPECT_EQ(index.num_documents(), 601);
  std::vector<Json> rejects;
  std::ifstream in(root() / "out" / kRejectsFile);
  for (std::string line; std::getline(in, line);) rejects.push_back(Json::parse(line));
  ASSERT_EQ(rejects.size(), 3u);
  EXPECT_EQ(rejects[0]["line"], 1);
  EXPECT_EQ(rejects[1]["text"], "rubbish\xEF\xBF\xBD");
  EXPECT_THAT(rejects[2]["reason"].get<std::string>(), HasSubstr("binary"));
}

TEST_F(Tokenizing, KeepsSpecialTokensOfTheTextAsText) {
  testing::WriteJsonLines(root() / "one.jsonl", {"<eos> is no end"});
  TokenizeSource(SourceOf(root() / "one.jsonl"), tokenizer_, root() / "out", {});
  std::vector<int32_t> tokens;
  Corpus::Open(root() / "out", 1)->AppendTokens(0, tokens);
  EXPECT_THAT(tokens, ::testing::Not(::testing::Contains(tokenizer_.tokenizer->eos_id())));
  EXPECT_EQ(tokenizer_.tokenizer->Decode(tokens, false), "<eos> is no end");
}

TEST_F(Tokenizing, RefusesAFolderOfOtherFilesOrAnotherTokenizer) {
  SourceSpec source = SourceOf(root() / "raw");
  TokenizeSource(source, tokenizer_, root() / "out", {});
  EXPECT_TRUE(TokenizeSource(source, tokenizer_, root() / "out", {}).complete);
  const TokenizerFile other = LoadTokenizerFile(testing::WriteTokenizer(root() / "tok2", 300));
  EXPECT_THAT(UserErrorOf([&] { TokenizeSource(source, other, root() / "out", {}); }), HasSubstr("another tokenizer"));
  source.text_field = "body";
  EXPECT_THAT(UserErrorOf([&] { TokenizeSource(source, tokenizer_, root() / "out", {}); }), HasSubstr("'text'"));
  source.text_field = "text";
  testing::WriteJsonLines(root() / "raw/5.jsonl", {"new"});
  EXPECT_THAT(UserErrorOf([&] { TokenizeSource(source, tokenizer_, root() / "out", {}); }), HasSubstr("5.jsonl has changed"));
  EXPECT_THAT(UserErrorOf([&] { TokenizeSource(source, tokenizer_, root() / "raw", {}); }), HasSubstr("is not empty"));
  fs::remove_all(root() / "raw");
  EXPECT_TRUE(TokenizeSource(source, tokenizer_, root() / "out", {}).complete) << "the texts may go once they are tokens";
}

TEST_F(Tokenizing, ThatIsDamagedIsRefusedWhenItIsOpened) {
  TokenizeSource(SourceOf(root() / "raw"), tokenizer_, root() / "out", {.shard_tokens = 2000});
  const fs::path shard = root() / "out/shard-00001.tokens";
  const std::string whole = ReadFile(shard);
  const auto open_with = [&](const std::string& bytes) {
    WriteFileAtomically(shard, bytes);
    return UserErrorOf([&] { Corpus::Open(root() / "out", 2); });
  };
  std::string turned = whole;
  turned[whole.size() / 2] ^= 1;
  EXPECT_THAT(open_with(turned), HasSubstr("shard-00001.tokens: is damaged"));
  EXPECT_THAT(open_with(whole.substr(0, whole.size() - 24)), HasSubstr("do not fill"));
  EXPECT_THAT(open_with(ReadFile(root() / "out/shard-00000.tokens")), HasSubstr("is not the shard that corpus.json lists"));
  EXPECT_EQ(open_with(whole), "");
  fs::remove(shard);
  EXPECT_THAT(UserErrorOf([&] { Corpus::Open(root() / "out", 2); }), HasSubstr("shard-00001.tokens"));
}

TEST_F(Tokenizing, SaysWhenThereIsNoDocument) {
  WriteFileAtomically(root() / "empty.jsonl", "\n");
  const CorpusIndex index = TokenizeSource(SourceOf(root() / "empty.jsonl"), tokenizer_, root() / "out", {});
  EXPECT_EQ(index.num_documents(), 0);
  EXPECT_THAT(UserErrorOf([&] { Corpus::Open(root() / "out", 1); }), HasSubstr("has no document"));
}

}  // namespace
}  // namespace fathom
