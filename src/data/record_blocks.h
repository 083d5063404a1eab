// The documents of several files as one stream, in order, with the place of each.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/input_files.h"
#include "data/record_reader.h"
#include "data/spec.h"

namespace fathom {

struct RecordBlock {  // about a MiB of records of one file
  int64_t file_idx = 0;
  std::vector<Record> records;
  bool ends_file = false;
  int64_t bytes_read = 0;  // of all files so far, as they lie on the disk
};

// Reads the files one after the other, in blocks.
class RecordBlocks {
 public:
  // Begins behind the first `skip_records` records of files[first_file].
  RecordBlocks(std::vector<InputFile> files, DocumentUnit unit, std::string text_field, int64_t first_file = 0, int64_t skip_records = 0);
  std::optional<RecordBlock> Next();
  int64_t total_bytes() const { return total_bytes_; }

 private:
  std::vector<InputFile> files_;
  DocumentUnit unit_;
  std::string text_field_;
  int64_t file_idx_, skip_records_;
  int64_t total_bytes_ = 0, bytes_of_ended_ = 0;
  std::unique_ptr<RecordReader> reader_;
};

}  // namespace fathom
