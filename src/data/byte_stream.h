// The bytes of a file from its start to its end, unpacked when it ends in .gz or .zst (several members or frames one after the other too).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace fathom {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Up to `size` bytes; 0 at the end. Throws UserError for a file that cannot be read or unpacked.
  virtual size_t Read(char* buffer, size_t size) = 0;
  virtual int64_t file_offset() const = 0;  // bytes of the file itself that have been read
};

// Throws UserError when the file cannot be opened.
std::unique_ptr<ByteStream> OpenByteStream(const std::filesystem::path& path);

}  // namespace fathom
