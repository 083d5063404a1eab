// Files to records and documents.
#include <gmock/gmock.h>
#include <zlib.h>
#include <zstd.h>

#include "data/byte_stream.h"
#include "data/input_files.h"
#include "data/ordered_work.h"
#include "data/record_reader.h"
#include "data/small_corpus.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::UserErrorOf;

std::string Gzip(const std::string& text) {
  z_stream state{};
  EXPECT_EQ(deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&state, text.size()) + 64, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&state, Z_FINISH), Z_STREAM_END);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string ReadAll(const std::filesystem::path& path) {
  const auto stream = OpenByteStream(path);
  std::string all;
  char buffer[1000];
  while (const size_t got = stream->Read(buffer, sizeof buffer)) all.append(buffer, got);
  return all;
}

// Texts, and problems in brackets.
std::vector<std::string> TextsOf(const std::filesystem::path& path, DocumentUnit unit) {
  const auto reader = OpenRecords({path, FormatOf(path)}, unit, "text");
  std::vector<std::string> texts;
  Record record;
  while (reader->Next(record)) {
    const int64_t number = record.number;
    std::string problem;
    const auto text = TextOf(record, "text", problem);
    texts.push_back(text ? *text : fmt::format("[{}: {}]", number, problem));
  }
  return texts;
}

TEST(ByteStream, UnpacksGzipAndZstandardAlsoInSeveralPieces) {
  TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "line " + std::to_string(i * i) + "\n";
  WriteFileAtomically(folder.path() / "a.txt", text);
  WriteFileAtomically(folder.path() / "a.txt.gz", Gzip(text) + Gzip(text));
  WriteFileAtomically(folder.path() / "a.txt.zst", Zstd(text) + Zstd(text));
  EXPECT_EQ(ReadAll(folder.path() / "a.txt"), text);
  EXPECT_EQ(ReadAll(folder.path() / "a.txt.gz"), text + text);
  EXPECT_EQ(ReadAll(folder.path() / "a.txt.zst"), text + text);
}

TEST(ByteStream, RefusesAFileThatIsCutOffOrDamaged) {
  TemporaryFolder folder;
  const std::string text(100000, 'x'), gz = Gzip(text), zst = Zstd(text);
  WriteFileAtomically(folder.path() / "cut.gz", std::string_view(gz).substr(0, gz.size() - 9));
  WriteFileAtomically(folder.path() / "cut.zst", std::string_view(zst).substr(0, zst.size() - 2));
  WriteFileAtomically(folder.path() / "other.zst", "this is no zstd");
  WriteFileAtomically(folder.path() / "other.gz", "this is no gzip");
  EXPECT_THAT(UserErrorOf([&] { ReadAll(folder.path() / "cut.gz"); }), HasSubstr("ends inside"));
  EXPECT_THAT(UserErrorOf([&] { ReadAll(folder.path() / "cut.zst"); }), HasSubstr("ends inside"));
  EXPECT_THAT(UserErrorOf([&] { ReadAll(folder.path() / "other.zst"); }), HasSubstr("not whole zstd"));
  EXPECT_THAT(UserErrorOf([&] { ReadAll(folder.path() / "other.gz"); }), HasSubstr("not whole gzip"));
}

TEST(RecordReader, CutsTextsByTheUnitThatIsAskedFor) {
  TemporaryFolder folder;
  const auto path = folder.path() / "a.txt";
  WriteFileAtomically(path, "one\ntwo\r\n\n  \nthree\nfour\n");
  EXPECT_THAT(TextsOf(path, DocumentUnit::kFile), ElementsAre("one\ntwo\r\n\n  \nthree\nfour\n"));
  EXPECT_THAT(TextsOf(path, DocumentUnit::kLine), ElementsAre("one", "two", "three", "four"));
  EXPECT_THAT(TextsOf(path, DocumentUnit::kParagraph), ElementsAre("one\ntwo\r\n", "three\nfour\n"));
  std::string text, joined;
  for (int i = 0; i < 5000; ++i) text += "line " + std::to_string(i) + "\n";
  WriteFileAtomically(path, text);
  const auto chunks = TextsOf(path, DocumentUnit::kChunk);
  EXPECT_GT(chunks.size(), 2u);
  for (const std::string& chunk : chunks) joined += chunk;
  EXPECT_EQ(joined, text);
  for (size_t i = 0; i + 1 < chunks.size(); ++i) EXPECT_GE(chunks[i].size(), kChunkBytes);
}

TEST(RecordReader, PutsAsideLinesThatCannotBeReadAndGoesOn) {
  TemporaryFolder folder;
  const auto path = folder.path() / "a.jsonl";
  WriteFileAtomically(path, std::string("{\"text\": \"a\"}\n\n{\"text\": 3}\n[1]\n{\"txt\": \"b\"}\n{\"text\": \"c\n{\"text\": \"\xff\"}\n{\"text\": \"\\ud800\"}\n") +
                                "{\"text\": \"\"}\n" + std::string(400, '[') + "\n{\"text\": \"last\", \"n\": 1}");
  EXPECT_THAT(TextsOf(path, DocumentUnit::kFile),
              ElementsAre("a", "[3: 'text' must be a string, got number]", "[4: must be an object, got array]", "[5: has no 'text']", HasSubstr("[6: not valid JSON"),
                          HasSubstr("[7: not valid JSON"), HasSubstr("[8: not valid JSON"), "", HasSubstr("[10: JSON nested deeper"), "last"));
}

TEST(RecordReader, RefusesBinaryTextAndFilesThatAreGone) {
  TemporaryFolder folder;
  WriteFileAtomically(folder.path() / "zero.txt", std::string("ab\0cd", 5));
  WriteFileAtomically(folder.path() / "latin.txt", "caf\xe9");
  WriteFileAtomically(folder.path() / "mark.txt", "\xEF\xBB\xBFtext");
  EXPECT_THAT(TextsOf(folder.path() / "zero.txt", DocumentUnit::kFile), ElementsAre("[1: is binary: byte 2 is 0]"));
  EXPECT_THAT(TextsOf(folder.path() / "latin.txt", DocumentUnit::kFile), ElementsAre("[1: is not UTF-8]"));
  EXPECT_THAT(TextsOf(folder.path() / "mark.txt", DocumentUnit::kFile), ElementsAre("text"));
  EXPECT_THAT(TextsOf(folder.path() / "gone.txt", DocumentUnit::kFile), ElementsAre(HasSubstr("cannot open")));
}

TEST(InputFiles, FindsFilesByFolderAndGlob) {
  TemporaryFolder folder;
  const std::string root = folder.path().string();
  for (const char* name : {"a.py", "b.txt", "image.png", ".hidden.txt", "deep/er/c.py", "deep/d.jsonl.gz", ".git/x.py"}) {
    std::filesystem::create_directories((folder.path() / name).parent_path());
    WriteFileAtomically(folder.path() / name, "x");
  }
  const auto list = [&](const std::string& path) {
    std::vector<std::string> names;
    for (const InputFile& file : ListInputFiles({path})) names.push_back(file.path.lexically_relative(root).string());
    return names;
  };
  EXPECT_THAT(list(root), ElementsAre("a.py", "b.txt", "deep/d.jsonl.gz", "deep/er/c.py"));
  EXPECT_THAT(list(root + "/*.py"), ElementsAre("a.py"));
  EXPECT_THAT(list(root + "/**/*.py"), ElementsAre("a.py", "deep/er/c.py"));
  EXPECT_THAT(list(root + "/[ab].*"), ElementsAre("a.py", "b.txt"));
  EXPECT_THAT(list(root + "/image.png"), ElementsAre("image.png"));
  EXPECT_EQ(ListInputFiles({root, root + "/*.py"}).size(), 4u);
  EXPECT_THAT(UserErrorOf([&] { list(root + "/*.rs"); }), HasSubstr("matches no file"));
  EXPECT_THAT(UserErrorOf([&] { list(root + "/none.txt"); }), HasSubstr("does not exist"));
}

TEST(RunOrdered, KeepsTheOrderAndHandsOnTheFirstError) {
  for (const int num_threads : {1, 2, 7}) {
    int next = 0;
    std::vector<int> out;
    RunOrdered(
        num_threads, [&]() -> std::optional<int> { return next < 500 ? std::optional(next++) : std::nullopt; }, [](int i, int) { return i * 2; },
        [&](int result) { out.push_back(result); });
    ASSERT_EQ(out.size(), 500u);
    for (int i = 0; i < 500; ++i) EXPECT_EQ(out[static_cast<size_t>(i)], 2 * i);
    next = 0;
    const auto fail_at_work = [&] {
      RunOrdered(
          num_threads, [&]() -> std::optional<int> { return next < 500 ? std::optional(next++) : std::nullopt; },
          [](int i, int) {
            FATHOM_USER_CHECK(i != 77, "no {}", i);
            return i;
          },
          [](int) {});
    };
    EXPECT_EQ(UserErrorOf(fail_at_work), "no 77");
    EXPECT_EQ(UserErrorOf([&] {
                RunOrdered(
                    num_threads, [&]() -> std::optional<int> { return 1; }, [](int i, int) { return i; }, [](int) { ThrowUserError("enough"); });
              }),
              "enough");
  }
}

}  // namespace
}  // namespace fathom
