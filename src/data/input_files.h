// The files of a source: paths, folders and globs to a sorted list.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

enum class FileFormat { kText, kJsonLines, kParquet };

struct InputFile {
  std::filesystem::path path;
  FileFormat format = FileFormat::kText;
  int64_t num_bytes = 0;
  int64_t modified_ns = 0;
};

// The format by the ending: .jsonl and .ndjson are JSON lines, .parquet is Parquet, anything else text; .gz and .zst behind it are packed.
FileFormat FormatOf(const std::filesystem::path& path);

// A file is taken whatever its ending; of a folder everything below with the ending of a text, a source file, JSON lines or Parquet; a glob has * ? [..]
// and ** (any folders). What is hidden is left out of folders and globs. Sorted by path, each file once. Throws UserError for a path or glob that names nothing.
std::vector<InputFile> ListInputFiles(const std::vector<std::string>& paths);

// Whether `path` (with /) is matched by the glob.
bool GlobMatches(std::string_view glob, std::string_view path);

}  // namespace fathom
