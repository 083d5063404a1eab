// Files: reading whole, mapping, and writing so that a crash leaves the old content.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace fathom {

// The bytes of a file. Throws UserError naming the path when it does not exist, is a folder or cannot be read.
std::string ReadFile(const std::filesystem::path& path);

// Writes `bytes` to a temporary file beside `path`, syncs it, and renames it over `path` (over what `path` links to, when it
// is a link). A device or a named pipe is written to instead.
// Throws MachineError (disk full, no permission) with the system's reason; `path` is then as it was.
void WriteFileAtomically(const std::filesystem::path& path, std::string_view bytes);
// The same for pieces written one after another (large ones need not be joined in memory).
void WriteFileAtomically(const std::filesystem::path& path, std::span<const std::string_view> pieces);

// A file mapped read-only. Moves, does not copy; unmapped when destroyed.
class MappedFile {
 public:
  // Throws UserError when the file cannot be opened or is a folder. An empty file gives an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace fathom
