#include "data/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"

namespace fathom {
namespace {

constexpr size_t kBufferSize = 1 << 18;

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(const std::filesystem::path& path) : path_(path.string()), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    FATHOM_USER_CHECK(fd_ >= 0, "cannot open {}: {}", path_, std::strerror(errno));
    struct stat info {};
    if (::fstat(fd_, &info) != 0 || S_ISDIR(info.st_mode)) {
      ::close(fd_);
      ThrowUserError("{} is a folder, a file was expected", path_);
    }
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~PlainStream() override { ::close(fd_); }

  size_t Read(char* buffer, size_t size) override {
    while (true) {
      const ssize_t got = ::read(fd_, buffer, size);
      if (got < 0 && errno == EINTR) continue;
      FATHOM_USER_CHECK(got >= 0, "cannot read {}: {}", path_, std::strerror(errno));
      offset_ += got;
      return static_cast<size_t>(got);
    }
  }
  int64_t file_offset() const override { return offset_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_;
  int64_t offset_ = 0;
};

class GzipStream : public ByteStream {
 public:
  explicit GzipStream(const std::filesystem::path& path) : file_(path), in_(kBufferSize) {
    FATHOM_CHECK(::inflateInit2(&state_, 15 + 16) == Z_OK, "zlib cannot start");
  }
  ~GzipStream() override { ::inflateEnd(&state_); }

  size_t Read(char* buffer, size_t size) override {
    state_.next_out = reinterpret_cast<Bytef*>(buffer);
    state_.avail_out = static_cast<uInt>(std::min<size_t>(size, std::numeric_limits<int>::max()));
    const size_t wanted = state_.avail_out;
    while (state_.avail_out == wanted) {
      if (state_.avail_in == 0) {
        state_.next_in = reinterpret_cast<Bytef*>(in_.data());
        state_.avail_in = static_cast<uInt>(file_.Read(in_.data(), in_.size()));
        if (state_.avail_in == 0) {
          FATHOM_USER_CHECK(!inside_, "{}: ends inside of a gzip member", file_.path());
          return 0;
        }
      }
      if (!inside_) FATHOM_CHECK(::inflateReset(&state_) == Z_OK, "zlib cannot reset");
      inside_ = true;
      const int code = ::inflate(&state_, Z_NO_FLUSH);
      FATHOM_USER_CHECK(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR, "{}: not whole gzip: {}", file_.path(),
                        state_.msg != nullptr ? state_.msg : "damaged");
      if (code == Z_STREAM_END) inside_ = false;
    }
    return wanted - state_.avail_out;
  }
  int64_t file_offset() const override { return file_.file_offset(); }

 private:
  PlainStream file_;
  std::vector<char> in_;
  z_stream state_{};
  bool inside_ = false;  // of a member
};

class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(const std::filesystem::path& path) : file_(path), in_(kBufferSize), state_(::ZSTD_createDStream()) {
    FATHOM_CHECK(state_ != nullptr, "zstd cannot start");
  }
  ~ZstdStream() override { ::ZSTD_freeDStream(state_); }

  size_t Read(char* buffer, size_t size) override {
    ZSTD_outBuffer out{buffer, size, 0};
    while (out.pos == 0) {
      if (input_.pos == input_.size) {
        input_ = {in_.data(), file_.Read(in_.data(), in_.size()), 0};
        if (input_.size == 0) {
          FATHOM_USER_CHECK(!inside_, "{}: ends inside of a zstd frame", file_.path());
          return 0;
        }
      }
      const size_t hint = ::ZSTD_decompressStream(state_, &out, &input_);
      FATHOM_USER_CHECK(!::ZSTD_isError(hint), "{}: not whole zstd: {}", file_.path(), ::ZSTD_getErrorName(hint));
      inside_ = hint != 0;
    }
    return out.pos;
  }
  int64_t file_offset() const override { return file_.file_offset(); }

 private:
  PlainStream file_;
  std::vector<char> in_;
  ZSTD_DStream* state_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  bool inside_ = false;  // of a frame
};

}  // namespace

std::unique_ptr<ByteStream> OpenByteStream(const std::filesystem::path& path) {
  if (path.extension() == ".gz") return std::make_unique<GzipStream>(path);
  if (path.extension() == ".zst") return std::make_unique<ZstdStream>(path);
  return std::make_unique<PlainStream>(path);
}

}  // namespace fathom
