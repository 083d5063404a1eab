#include "data/inspect.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "base/interrupted.h"
#include "base/progress_bar.h"
#include "data/record_blocks.h"
#include "data/ordered_work.h"
#include "data/shard.h"

namespace fathom {
namespace {

constexpr size_t kMaxRejectsListed = 5;

struct Part {
  struct Document {
    int64_t num_bytes = 0;
    uint64_t hash = 0;
  };
  int64_t file_idx = 0, num_empty = 0, num_rejected = 0, bytes_read = 0;
  std::vector<Document> documents;
  std::vector<SourceSummary::Reject> rejects;
  std::vector<std::string> examples;
};

const char* NameOf(FileFormat format) { return format == FileFormat::kText ? "text" : format == FileFormat::kJsonLines ? "jsonl" : "parquet"; }

Part Examine(RecordBlock block, const std::vector<InputFile>& files, const std::string& text_field, int64_t num_examples) {
  Part part{.file_idx = block.file_idx, .bytes_read = block.bytes_read};
  for (Record& record : block.records) {
    std::string problem;
    const int64_t line = record.number;
    auto text = TextOf(record, text_field, problem);
    if (!text) {
      ++part.num_rejected;
      if (part.rejects.size() < kMaxRejectsListed) part.rejects.push_back({files[static_cast<size_t>(block.file_idx)].path.string(), line, problem});
    } else if (text->empty()) {
      ++part.num_empty;
    } else {
      part.documents.push_back({std::ssize(*text), HashBytes(*text)});
      if (std::ssize(part.examples) < num_examples) part.examples.push_back(std::move(*text));
    }
  }
  return part;
}

}  // namespace

SourceSummary InspectSource(const SourceSpec& source, int num_threads, int64_t num_examples, const std::function<bool()>& stop, bool show_progress) {
  const std::vector<InputFile> files = ListInputFiles(source.paths);
  SourceSummary summary{.num_files = std::ssize(files)};
  for (const InputFile& file : files) {
    summary.file_bytes += file.num_bytes;
    ++summary.formats[NameOf(file.format)];
  }
  RecordBlocks blocks(files, source.unit, source.text_field);
  ProgressBar bar("reading " + source.name, blocks.total_bytes(), show_progress);
  std::vector<int64_t> sizes;
  std::unordered_set<uint64_t> seen;
  RunOrdered(
      num_threads, [&] { return blocks.Next(); },
      [&](RecordBlock block, int) { return Examine(std::move(block), files, source.text_field, num_examples); },
      [&](Part part) {
        summary.num_empty += part.num_empty;
        summary.num_rejected += part.num_rejected;
        for (const Part::Document& document : part.documents) {
          sizes.push_back(document.num_bytes);
          summary.text_bytes += document.num_bytes;
          summary.num_duplicates += !seen.insert(document.hash).second;
        }
        for (auto& reject : part.rejects)
          if (summary.rejects.size() < kMaxRejectsListed) summary.rejects.push_back(std::move(reject));
        for (auto& example : part.examples)
          if (std::ssize(summary.examples) < num_examples) summary.examples.push_back(std::move(example));
        ThrowIfStopped(stop, "reading stopped");
        bar.Update(part.bytes_read, fmt::format("{} documents", sizes.size()));
      });
  summary.num_documents = std::ssize(sizes);
  if (!sizes.empty()) {
    const auto middle = sizes.begin() + std::ssize(sizes) / 2;
    std::nth_element(sizes.begin(), middle, sizes.end());
    summary.median = *middle;
    summary.shortest = *std::min_element(sizes.begin(), sizes.end());
    summary.longest = *std::max_element(sizes.begin(), sizes.end());
  }
  return summary;
}

}  // namespace fathom
