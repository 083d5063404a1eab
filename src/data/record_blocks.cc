#include "data/record_blocks.h"

#include <utility>

namespace fathom {
namespace {

constexpr size_t kBlockBytes = 1 << 20;
constexpr size_t kBlockRecords = 4096;

}  // namespace

RecordBlocks::RecordBlocks(std::vector<InputFile> files, DocumentUnit unit, std::string text_field, int64_t first_file, int64_t skip_records)
    : files_(std::move(files)), unit_(unit), text_field_(std::move(text_field)), file_idx_(first_file), skip_records_(skip_records) {
  for (size_t i = 0; i < files_.size(); ++i) {
    total_bytes_ += files_[i].num_bytes;
    if (static_cast<int64_t>(i) < first_file) bytes_of_ended_ += files_[i].num_bytes;
  }
}

std::optional<RecordBlock> RecordBlocks::Next() {
  if (file_idx_ == std::ssize(files_)) return std::nullopt;
  const InputFile& file = files_[static_cast<size_t>(file_idx_)];
  if (reader_ == nullptr) {
    reader_ = OpenRecords(file, unit_, text_field_);
    Record skipped;
    for (; skip_records_ > 0 && reader_->Next(skipped); --skip_records_) {}
    skip_records_ = 0;
  }
  RecordBlock block{.file_idx = file_idx_};
  size_t num_bytes = 0;
  Record record;
  while (num_bytes < kBlockBytes && block.records.size() < kBlockRecords) {
    if (!reader_->Next(record)) {
      block.ends_file = true;
      break;
    }
    num_bytes += record.bytes.size();
    block.records.push_back(std::move(record));
  }
  block.bytes_read = bytes_of_ended_ + reader_->file_offset();
  if (block.ends_file) {
    reader_.reset();
    bytes_of_ended_ += file.num_bytes;
    ++file_idx_;
  }
  return block;
}

}  // namespace fathom
