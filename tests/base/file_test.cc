#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

class File : public ::testing::Test {
 protected:
  size_t NumFiles() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator())); }
  TemporaryFolder temporary_;
  const fs::path& folder_ = temporary_.path();
};

TEST_F(File, IsReplacedWholeAndNothingIsLeftBeside) {
  const fs::path path = folder_ / "a";
  WriteFileAtomically(path, "one");
  EXPECT_EQ(ReadFile(path), "one");
  WriteFileAtomically(path, std::string("t\0wo", 4));
  EXPECT_EQ(ReadFile(path), std::string("t\0wo", 4));
  EXPECT_EQ(NumFiles(), 1u);
}

TEST_F(File, ThatALinkPointsToIsReplacedAndTheLinkStays) {
  WriteFileAtomically(folder_ / "a", "old");
  fs::create_symlink("a", folder_ / "link");
  WriteFileAtomically(folder_ / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(ReadFile(folder_ / "a"), "new");
  EXPECT_EQ(NumFiles(), 2u);
}

TEST_F(File, NamedPipesAndDevicesAreWrittenToAndStay) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const int reader = ::open(pipe.c_str(), O_RDWR | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  WriteFileAtomically(pipe, "through");
  char buffer[16];
  EXPECT_EQ(::read(reader, buffer, sizeof buffer), 7);
  ::close(reader);
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(NumFiles(), 1u);
  if (fs::is_character_file("/dev/full")) {
    EXPECT_THROW(WriteFileAtomically("/dev/full", "x"), MachineError);
    EXPECT_TRUE(fs::is_character_file("/dev/full"));
  }
}

TEST_F(File, ThatCannotBeWrittenIsTheMachinesFailureAndNamed) {
  try {
    WriteFileAtomically(folder_ / "none" / "a", "x");
    FAIL();
  } catch (const MachineError& e) {
    EXPECT_THAT(std::string(e.what()), ::testing::HasSubstr("none/a: No such file"));
  }
  fs::create_directory(folder_ / "b");
  EXPECT_THROW(WriteFileAtomically(folder_ / "b", "x"), MachineError);
  EXPECT_EQ(NumFiles(), 1u);
}

TEST_F(File, ThatIsReadMustBeThereAndNoFolder) {
  EXPECT_THROW(ReadFile(folder_ / "none"), UserError);
  EXPECT_THROW(ReadFile(folder_), UserError);
  EXPECT_THROW(MappedFile(folder_ / "none"), UserError);
  WriteFileAtomically(folder_ / "empty", "");
  EXPECT_TRUE(MappedFile(folder_ / "empty").bytes().empty());
}

}  // namespace
}  // namespace fathom
