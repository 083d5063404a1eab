#include "data/input_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

bool IsPacked(const fs::path& path) { return path.extension() == ".gz" || path.extension() == ".zst"; }

std::string EndingOf(const fs::path& path) {
  std::string ending = (IsPacked(path) ? path.stem() : path).extension().string();
  for (char& c : ending)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return ending;
}

bool HasKnownEnding(const fs::path& path) {
  static const std::set<std::string> kTexts = {
      ".txt", ".text", ".md",  ".markdown", ".rst", ".tex", ".org",  ".adoc", ".html", ".htm",  ".xml",   ".csv",  ".tsv", ".json", ".yaml", ".yml",
      ".toml", ".ini", ".cfg", ".py",  ".pyi", ".pyx", ".ipynb", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cu", ".cuh", ".rs", ".go", ".java",
      ".kt", ".scala", ".js", ".mjs", ".ts", ".tsx", ".jsx", ".css", ".scss", ".rb", ".pl", ".pm", ".php", ".sh", ".bash", ".lua", ".sql", ".r", ".jl",
      ".hs", ".ml", ".el", ".swift", ".cs", ".vue", ".cmake", ".proto", ".s", ".asm", ".f90", ".zig", ".nim", ".ex", ".exs", ".erl", ".clj", ".dart",
      ".m", ".bat", ".ps1", ".tcl", ".diff", ".patch"};
  return FormatOf(path) != FileFormat::kText || kTexts.contains(EndingOf(path));
}

bool IsHidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

InputFile Describe(const fs::path& path) {
  struct stat info {};
  FATHOM_USER_CHECK(::stat(path.c_str(), &info) == 0, "cannot read {}: {}", path.string(), std::strerror(errno));
  return {path, FormatOf(path), static_cast<int64_t>(info.st_size), static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec};
}

// Calls visit(file) for all regular files below a folder that are not hidden.
template <typename Visit>
void WalkFolder(const fs::path& folder, Visit visit) {
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied, error); it != fs::recursive_directory_iterator();
       it.increment(error)) {
    FATHOM_USER_CHECK(!error, "cannot list {}: {}", folder.string(), error.message());
    if (IsHidden(it->path())) {
      if (it->is_directory(error)) it.disable_recursion_pending();
    } else if (it->is_regular_file(error)) {
      visit(it->path());
    }
  }
  FATHOM_USER_CHECK(!error, "cannot list {}: {}", folder.string(), error.message());
}

size_t FirstWildcard(const std::string& path) { return path.find_first_of("*?["); }

// One character against the class that begins at glob[0] == '['; `size` gets its length. A class that is not closed is the character '['.
bool ClassMatches(std::string_view glob, char c, size_t& size) {
  const size_t close = glob.find(']', glob.size() > 1 && (glob[1] == '!' || glob[1] == '^') ? 3 : 2);
  if (close == std::string_view::npos) return size = 1, c == '[';
  size = close + 1;
  std::string_view set = glob.substr(1, close - 1);
  const bool negated = set[0] == '!' || set[0] == '^';
  if (negated) set.remove_prefix(1);
  bool found = false;
  for (size_t i = 0; i < set.size(); ++i) {
    const bool is_range = i + 2 < set.size() && set[i + 1] == '-';
    found = found || (is_range ? set[i] <= c && c <= set[i + 2] : set[i] == c);
    if (is_range) i += 2;
  }
  return found != negated && c != '/';
}

}  // namespace

bool GlobMatches(std::string_view glob, std::string_view path) {
  while (!glob.empty()) {
    if (glob.starts_with("**/")) {
      for (std::string_view rest = path;;) {
        if (GlobMatches(glob.substr(3), rest)) return true;
        const size_t slash = rest.find('/');
        if (slash == std::string_view::npos) return false;
        rest.remove_prefix(slash + 1);
      }
    }
    if (glob[0] == '*') {
      const bool any = glob.starts_with("**");
      const std::string_view behind = glob.substr(any ? 2 : 1);
      for (size_t i = 0;; ++i) {
        if (GlobMatches(behind, path.substr(i))) return true;
        if (i == path.size() || (path[i] == '/' && !any)) return false;
      }
    }
    if (path.empty()) return false;
    size_t size = 1;
    const bool matches = glob[0] == '?' ? path[0] != '/' : glob[0] == '[' ? ClassMatches(glob, path[0], size) : glob[0] == path[0];
    if (!matches) return false;
    glob.remove_prefix(size);
    path.remove_prefix(1);
  }
  return path.empty();
}

FileFormat FormatOf(const fs::path& path) {
  const std::string ending = EndingOf(path);
  if (ending == ".jsonl" || ending == ".ndjson") return FileFormat::kJsonLines;
  if (ending == ".parquet" && !IsPacked(path)) return FileFormat::kParquet;
  return FileFormat::kText;
}

std::vector<InputFile> ListInputFiles(const std::vector<std::string>& paths) {
  std::vector<fs::path> files;
  for (const std::string& path : paths) {
    const size_t before = files.size();
    if (fs::is_directory(path)) {
      WalkFolder(path, [&](const fs::path& file) {
        if (HasKnownEnding(file)) files.push_back(file);
      });
      FATHOM_USER_CHECK(files.size() > before, "{}: no text, JSON lines or Parquet file in the folder", path);
    } else if (fs::exists(path)) {
      files.emplace_back(path);
    } else {
      const size_t wildcard = FirstWildcard(path);
      FATHOM_USER_CHECK(wildcard != std::string::npos, "{} does not exist", path);
      const size_t slash = path.rfind('/', wildcard);
      const fs::path folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
      FATHOM_USER_CHECK(fs::is_directory(folder), "{}: {} is no folder", path, folder.string());
      WalkFolder(folder, [&](const fs::path& file) {
        const fs::path named = slash == std::string::npos ? file.lexically_relative(".") : file;
        if (GlobMatches(path, named.string())) files.push_back(named);
      });
      FATHOM_USER_CHECK(files.size() > before, "{} matches no file", path);
    }
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  std::vector<InputFile> described;
  for (const fs::path& file : files) described.push_back(Describe(file));
  return described;
}

}  // namespace fathom
