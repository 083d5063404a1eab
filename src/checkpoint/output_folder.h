// A new folder that is there whole or not at all, and files that report a full disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace fathom {

// Fills OUT.tmp-XXXXXX beside OUT; Commit makes it OUT. Without Commit the destructor removes it, so that OUT is as it was.
class OutputFolder {
 public:
  // Throws UserError when `out` exists and is not an empty folder, or its parent is no folder; MachineError when it cannot be created.
  explicit OutputFolder(const std::filesystem::path& out);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const { return temporary_; }  // where to write
  // Throws MachineError when the disk has less than `num_bytes` free.
  void CheckSpace(int64_t num_bytes) const;
  void Commit();

 private:
  std::filesystem::path out_, temporary_;
  bool committed_ = false;
};

// A file written from its start to its end. Every failure is a MachineError with the system's reason.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void Write(const void* bytes, size_t size);
  void Write(std::string_view bytes) { Write(bytes.data(), bytes.size()); }
  uint64_t num_written() const { return num_written_; }
  void Close();  // syncs to the disk

 private:
  [[noreturn]] void Fail(const char* step) const;

  std::filesystem::path path_;
  int fd_;
  uint64_t num_written_ = 0;
};

}  // namespace fathom
