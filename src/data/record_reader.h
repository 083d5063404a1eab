// From a file to records, each of which may become a document: lines of JSON, rows of Parquet, files, lines, paragraphs or chunks of text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "data/input_files.h"
#include "data/spec.h"

namespace fathom {

inline constexpr size_t kMaxRecordBytes = size_t{1} << 28;  // what is longer is put aside
inline constexpr size_t kChunkBytes = 1 << 14;              // DocumentUnit::kChunk

struct Record {
  std::string bytes;
  int64_t number = 0;   // the line it begins at, or its row, from 1
  bool is_json = false; // else the text itself
  std::string problem;  // not empty: it could not be read, this is why
};

class RecordReader {
 public:
  virtual ~RecordReader() = default;
  // False at the end. A file that is damaged gives a last record with the problem. Never throws UserError.
  virtual bool Next(Record& record) = 0;
  virtual int64_t file_offset() const = 0;  // bytes of the file that have been read
};

// What cannot even be opened gives one record with the problem; a missing Parquet library throws UserError (the set-up lacks it, not the file).
std::unique_ptr<RecordReader> OpenRecords(const InputFile& file, DocumentUnit unit, const std::string& text_field);

// The text of a record, or nothing with the reason in `problem`. Texts are valid UTF-8 without a byte order mark; one that is empty is no problem.
std::optional<std::string> TextOf(Record& record, const std::string& text_field, std::string& problem);

}  // namespace fathom
