#include "data/parquet_reader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <utility>

#include "base/error.h"
#include "data/parquet_plugin.h"
#include "data/record_reader.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

struct Library {
  const FathomParquetTable* table = nullptr;
  std::string why;
};

std::string LibraryPath() {
  if (const char* path = std::getenv("FATHOM_PARQUET_LIB"); path != nullptr && *path != '\0') return path;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return error ? "libfathom_parquet.so" : (program.parent_path() / "libfathom_parquet.so").string();
}

Library Load() {
  const std::string path = LibraryPath();
  std::error_code error;
  if (path.find('/') != std::string::npos && !fs::exists(path, error))
    return {nullptr, fmt::format("{} is not there; `.venv/bin/pip install pyarrow` and `make` build it", path)};
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed
  if (library == nullptr) return {nullptr, fmt::format("{} cannot be loaded: {}", path, ::dlerror())};
  const auto get = reinterpret_cast<const FathomParquetTable* (*)()>(::dlsym(library, "fathom_parquet_table"));
  const FathomParquetTable* table = get == nullptr ? nullptr : get();
  if (table == nullptr || table->version != kParquetInterfaceVersion || table->size != static_cast<int32_t>(sizeof(FathomParquetTable)))
    return {nullptr, fmt::format("{} is of another version than this program: build both from the same source", path)};
  return {table, ""};
}

const Library& LoadOnce() {
  static const Library kLibrary = Load();
  return kLibrary;
}

class ParquetRecords : public RecordReader {
 public:
  ParquetRecords(const fs::path& path, const std::string& column) : table_(*LoadOnce().table), name_(path.string()) {
    char error[512] = "";
    reader_ = table_.open(path.c_str(), column.c_str(), error, sizeof error);
    if (reader_ == nullptr) problem_ = fmt::format("{}: {}", name_, error);
  }
  ~ParquetRecords() override {
    if (reader_ != nullptr) table_.close(reader_);
  }
  ParquetRecords(const ParquetRecords&) = delete;
  ParquetRecords& operator=(const ParquetRecords&) = delete;

  bool Next(Record& record) override {
    record = {};
    if (!problem_.empty()) {
      record.problem = std::exchange(problem_, "");
      return true;
    }
    if (reader_ == nullptr || ended_) return false;
    const char* text = nullptr;
    size_t size = 0;
    char error[512] = "";
    const int code = table_.next(reader_, &text, &size, error, sizeof error);
    record.number = ++row_;
    if (code == 1) {
      if (text == nullptr) record.problem = "is null";
      else if (size > kMaxRecordBytes) record.problem = fmt::format("longer than {} MiB", kMaxRecordBytes >> 20);
      else record.bytes.assign(text, size);
      return true;
    }
    ended_ = true;
    if (code == 0) return false;
    record.problem = fmt::format("{}: {}", name_, error);
    return true;
  }
  int64_t file_offset() const override { return 0; }

 private:
  const FathomParquetTable& table_;
  std::string name_, problem_;
  void* reader_ = nullptr;
  int64_t row_ = 0;
  bool ended_ = false;
};

}  // namespace

void CheckParquetLibrary(const fs::path& path) {
  const Library& library = LoadOnce();
  FATHOM_USER_CHECK(library.table != nullptr, "{}: Parquet needs Arrow: {}", path.string(), library.why);
}

std::unique_ptr<RecordReader> OpenParquetRecords(const fs::path& path, const std::string& column) { return std::make_unique<ParquetRecords>(path, column); }

}  // namespace fathom
