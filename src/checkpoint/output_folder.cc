#include "checkpoint/output_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

void SyncFolder(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int reason = errno;
  if (fd >= 0) ::close(fd);
  if (!synced) ThrowMachineError("cannot sync {}: {}", path.string(), std::strerror(reason));
}

}  // namespace

OutputFolder::OutputFolder(const fs::path& out) : out_(fs::absolute(out).lexically_normal()) {
  if (!out_.has_filename()) out_ = out_.parent_path();
  FATHOM_USER_CHECK(!fs::exists(fs::symlink_status(out_)) || (fs::is_directory(out_) && fs::is_empty(out_)),
                    "{} exists already; an output must be a new or an empty folder", out.string());
  FATHOM_USER_CHECK(fs::is_directory(out_.parent_path()), "{}: {} is no folder", out.string(), out_.parent_path().string());
  std::string name = out_.string() + ".tmp-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) ThrowMachineError("cannot create {}: {}", name, std::strerror(errno));
  temporary_ = name;
  const mode_t mask = ::umask(0);  // mkdtemp makes it 0700; give it the usual mode
  ::umask(mask);
  ::chmod(name.c_str(), 0777 & ~mask);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void OutputFolder::CheckSpace(int64_t num_bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(temporary_, error);
  if (!error && static_cast<uint64_t>(num_bytes) > space.available)
    ThrowMachineError("{}: {} bytes are to be written, the disk has {} free", out_.string(), num_bytes, space.available);
}

void OutputFolder::Commit() {
  SyncFolder(temporary_);
  // rename replaces an empty folder, and fails on any other that came meanwhile.
  if (::rename(temporary_.c_str(), out_.c_str()) != 0) ThrowMachineError("cannot rename {} to {}: {}", temporary_.string(), out_.string(), std::strerror(errno));
  committed_ = true;
  SyncFolder(out_.parent_path());
}

OutputFile::OutputFile(const fs::path& path) : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
  if (fd_ < 0) Fail("create");
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::Fail(const char* step) const { ThrowMachineError("cannot {} {}: {}", step, path_.string(), std::strerror(errno)); }

void OutputFile::Write(const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t put = ::write(fd_, at, std::min(size, size_t{1} << 30));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) Fail("write");
    at += put;
    size -= static_cast<size_t>(put);
    num_written_ += static_cast<uint64_t>(put);
  }
}

void OutputFile::Close() {
  if (::fsync(fd_) != 0) Fail("sync");
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0) Fail("close");
}

}  // namespace fathom
