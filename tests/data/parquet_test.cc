// Parquet files through libfathom_parquet.so; skipped where it is not built. The file is made by files/make_parquet.py.
#include "data/parquet_reader.h"

#include <gmock/gmock.h>

#include "data/record_reader.h"
#include "data/small_corpus.h"
#include "places.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kFile = SourceFolder() / "tests/data/files/texts.parquet";

class Parquet : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(BinaryFolder() / "libfathom_parquet.so")) GTEST_SKIP() << "libfathom_parquet.so is not built (no pyarrow)";
  }
  static std::vector<Record> RecordsOf(const fs::path& path, const std::string& column) {
    const auto reader = OpenRecords({path, FileFormat::kParquet}, DocumentUnit::kFile, column);
    std::vector<Record> records;
    for (Record record; reader->Next(record);) records.push_back(std::move(record));
    return records;
  }
};

TEST_F(Parquet, GivesARecordARow) {
  const auto records = RecordsOf(kFile, "text");
  ASSERT_EQ(records.size(), 300u);
  for (int64_t i = 0; i < 300; ++i) {
    const Record& record = records[static_cast<size_t>(i)];
    std::string expected;
    for (int64_t k = 0; k <= i % 5; ++k) expected += "row " + std::to_string(i) + " 文字";
    EXPECT_EQ(record.number, i + 1);
    if (i % 50 == 7) EXPECT_EQ(record.problem, "is null");
    else EXPECT_EQ(record.bytes, expected);
  }
}

TEST_F(Parquet, ReadsDictionariesAndLargeStrings) {
  EXPECT_EQ(RecordsOf(kFile, "kind").at(4).bytes, "kind 1");
  EXPECT_EQ(RecordsOf(kFile, "large").at(299).bytes, "L299");
}

TEST_F(Parquet, SaysWhatIsWrongWithAFile) {
  EXPECT_THAT(RecordsOf(kFile, "body").at(0).problem, HasSubstr("has no column 'body'; its columns are id, text, kind, large"));
  EXPECT_THAT(RecordsOf(kFile, "id").at(0).problem, HasSubstr("must hold texts, it holds int64"));
  TemporaryFolder folder;
  const std::string bytes = ReadFile(kFile);
  WriteFileAtomically(folder.path() / "cut.parquet", std::string_view(bytes).substr(0, bytes.size() / 2));
  EXPECT_NE(RecordsOf(folder.path() / "cut.parquet", "text").at(0).problem, "");
  EXPECT_NE(RecordsOf(folder.path() / "none.parquet", "text").at(0).problem, "");
}

}  // namespace
}  // namespace fathom
