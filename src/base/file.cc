#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { if (fd_ >= 0) ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Opens for reading and gives the size of a regular file or pipe.
size_t CheckReadable(int fd, const std::filesystem::path& path) {
  FATHOM_USER_CHECK(fd >= 0, "cannot open {}: {}", path.string(), std::strerror(errno));
  struct stat info {};
  FATHOM_USER_CHECK(::fstat(fd, &info) == 0, "cannot read {}: {}", path.string(), std::strerror(errno));
  FATHOM_USER_CHECK(!S_ISDIR(info.st_mode), "{} is a folder, a file was expected", path.string());
  return static_cast<size_t>(info.st_size);
}

// False with errno set when not all could be written.
bool WriteAll(int fd, std::span<const std::string_view> pieces) {
  for (const std::string_view bytes : pieces) {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t put = ::write(fd, bytes.data() + done, bytes.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return false;
      done += static_cast<size_t>(put);
    }
  }
  return true;
}

// A device or a named pipe is written to; renaming a file over it would take it away.
void WriteToDevice(const std::filesystem::path& path, std::span<const std::string_view> pieces) {
  const Descriptor device(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (device.get() < 0 || !WriteAll(device.get(), pieces))
    ThrowMachineError("cannot write {}: {}", path.string(), std::strerror(errno));
}

}  // namespace

std::string ReadFile(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string bytes;
  bytes.reserve(CheckReadable(file.get(), path));
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    FATHOM_USER_CHECK(got >= 0, "cannot read {}: {}", path.string(), std::strerror(errno));
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
  }
}

void WriteFileAtomically(const std::filesystem::path& path, std::string_view bytes) {
  WriteFileAtomically(path, std::span<const std::string_view>(&bytes, 1));
}

void WriteFileAtomically(const std::filesystem::path& path, std::span<const std::string_view> pieces) {
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return WriteToDevice(path, pieces);
  std::error_code error;
  std::filesystem::path target = exists ? std::filesystem::canonical(path, error) : path;  // a link stays a link
  if (error) target = path;
  const std::string temporary = fmt::format("{}.tmp{}", target.string(), ::getpid());
  const auto fail = [&](const char* step) {
    const std::string reason = std::strerror(errno);
    ::unlink(temporary.c_str());
    ThrowMachineError("cannot {} {}: {}", step, path.string(), reason);
  };
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) fail("create");
    if (!WriteAll(file.get(), pieces)) fail("write");
    if (::fsync(file.get()) != 0) fail("sync");
  }
  if (::rename(temporary.c_str(), target.c_str()) != 0) fail("rename");
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  size_ = CheckReadable(file.get(), path);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  FATHOM_USER_CHECK(address != MAP_FAILED, "cannot map {}: {}", path.string(), std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

}  // namespace fathom
