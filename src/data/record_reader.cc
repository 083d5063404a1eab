#include "data/record_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "data/byte_stream.h"
#include "data/parquet_reader.h"

namespace fathom {
namespace {

// Lines of a stream, of bounded length.
class LineReader {
 public:
  explicit LineReader(const std::filesystem::path& path) : stream_(OpenByteStream(path)), buffer_(1 << 18) {}

  // The next line with its newline; at most kMaxRecordBytes of it are kept. False at the end.
  bool Next(std::string& line, bool& too_long) {
    line.clear();
    too_long = false;
    while (true) {
      if (begin_ == end_) {
        begin_ = 0;
        end_ = stream_->Read(buffer_.data(), buffer_.size());
        if (end_ == 0) return !line.empty() || too_long;
      }
      const char* start = buffer_.data() + begin_;
      const char* newline = static_cast<const char*>(std::memchr(start, '\n', end_ - begin_));
      const size_t size = newline == nullptr ? end_ - begin_ : static_cast<size_t>(newline - start) + 1;
      begin_ += size;
      if (line.size() + size > kMaxRecordBytes) too_long = true;
      if (!too_long) line.append(start, size);
      if (newline != nullptr) return true;
    }
  }
  int64_t file_offset() const { return stream_->file_offset(); }

 private:
  std::unique_ptr<ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
};

bool IsBlank(std::string_view line) { return line.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos; }

class LineRecords : public RecordReader {
 public:
  LineRecords(const std::filesystem::path& path, FileFormat format, DocumentUnit unit)
      : lines_(path), is_json_(format == FileFormat::kJsonLines), unit_(is_json_ ? DocumentUnit::kLine : unit) {}

  bool Next(Record& record) override {
    record = {};
    if (ended_) return false;
    record.is_json = is_json_;
    try {
      if (Collect(record)) return true;
      ended_ = true;
      return false;
    } catch (const UserError& error) {  // damaged from here on
      ended_ = true;
      record.problem = error.what();
      record.number = line_number_ + 1;
      return true;
    }
  }
  int64_t file_offset() const override { return lines_.file_offset(); }

 private:
  bool Collect(Record& record) {
    std::string line;
    bool too_long = false;
    while (lines_.Next(line, too_long)) {
      ++line_number_;
      const bool blank = !too_long && IsBlank(line);
      if (record.bytes.empty() && record.number == 0) {
        if (blank && unit_ != DocumentUnit::kFile && unit_ != DocumentUnit::kChunk) continue;
        record.number = line_number_;
      } else if (blank && unit_ == DocumentUnit::kParagraph) {
        return true;
      }
      if (too_long || record.bytes.size() + line.size() > kMaxRecordBytes) {
        record.bytes.clear();
        record.problem = fmt::format("longer than {} MiB", kMaxRecordBytes >> 20);
        if (unit_ == DocumentUnit::kFile) ended_ = true;
        return true;
      }
      if (record.bytes.empty()) record.bytes.swap(line);
      else record.bytes += line;
      if (unit_ == DocumentUnit::kLine) {
        while (!record.bytes.empty() && (record.bytes.back() == '\n' || record.bytes.back() == '\r')) record.bytes.pop_back();
        return true;
      }
      if (unit_ == DocumentUnit::kChunk && record.bytes.size() >= kChunkBytes) return true;
    }
    return record.number > 0;
  }

  LineReader lines_;
  bool is_json_;
  DocumentUnit unit_;
  int64_t line_number_ = 0;
  bool ended_ = false;
};

class OneProblem : public RecordReader {
 public:
  explicit OneProblem(std::string problem) : problem_(std::move(problem)) {}
  bool Next(Record& record) override {
    record = {};
    record.problem = std::exchange(problem_, "");
    return !record.problem.empty();
  }
  int64_t file_offset() const override { return 0; }

 private:
  std::string problem_;
};

std::optional<std::string> TextOfJson(const std::string& line, const std::string& text_field, std::string& problem) {
  try {
    Json json = ParseJson(line, "line");
    if (!json.is_object()) return problem = fmt::format("must be an object, got {}", json.type_name()), std::nullopt;
    const auto found = json.find(text_field);
    if (found == json.end()) return problem = fmt::format("has no '{}'", text_field), std::nullopt;
    if (!found->is_string()) return problem = fmt::format("'{}' must be a string, got {}", text_field, found->type_name()), std::nullopt;
    return std::move(found->get_ref<std::string&>());
  } catch (const UserError& error) {
    const std::string_view message = error.what();
    problem = message.starts_with("line: ") ? message.substr(6) : message;
    return std::nullopt;
  }
}

}  // namespace

std::unique_ptr<RecordReader> OpenRecords(const InputFile& file, DocumentUnit unit, const std::string& text_field) {
  if (file.format == FileFormat::kParquet) {
    CheckParquetLibrary(file.path);
    return OpenParquetRecords(file.path, text_field);
  }
  try {
    return std::make_unique<LineRecords>(file.path, file.format, unit);
  } catch (const UserError& error) {
    return std::make_unique<OneProblem>(error.what());
  }
}

std::optional<std::string> TextOf(Record& record, const std::string& text_field, std::string& problem) {
  if (!record.problem.empty()) return problem = record.problem, std::nullopt;
  if (record.is_json) return TextOfJson(record.bytes, text_field, problem);
  if (const size_t zero = record.bytes.find('\0'); zero != std::string::npos)
    return problem = fmt::format("is binary: byte {} is 0", zero), std::nullopt;
  if (!IsValidUtf8(record.bytes)) return problem = "is not UTF-8", std::nullopt;
  if (record.bytes.starts_with("\xEF\xBB\xBF")) record.bytes.erase(0, 3);
  return std::move(record.bytes);
}

}  // namespace fathom
