#include "data/train_tokenizer.h"

#include <utility>

#include "base/error.h"
#include "base/interrupted.h"
#include "base/progress_bar.h"
#include "data/record_blocks.h"
#include "data/ordered_work.h"

namespace fathom {

WordCountResult CountWords(const SourceSpec& source, const WordCountOptions& options) {
  struct Counts {
    int64_t num_documents = 0, num_bytes = 0, num_rejected = 0, bytes_read = 0;
  };
  const WordSplitter splitter(options.family);
  RecordBlocks blocks(ListInputFiles(source.paths), source.unit, source.text_field);
  ProgressBar bar("counting words", blocks.total_bytes(), options.show_progress);
  std::vector<WordCounts> of_threads(static_cast<size_t>(options.num_threads));
  WordCountResult result;
  RunOrdered(
      options.num_threads, [&] { return blocks.Next(); },
      [&](RecordBlock block, int thread_idx) {
        Counts counts{.bytes_read = block.bytes_read};
        for (Record& record : block.records) {
          std::string problem;
          const auto text = TextOf(record, source.text_field, problem);
          if (!text) {
            ++counts.num_rejected;
            continue;
          }
          ++counts.num_documents;
          counts.num_bytes += std::ssize(*text);
          splitter.Count(*text, of_threads[static_cast<size_t>(thread_idx)]);
        }
        return counts;
      },
      [&](const Counts& counts) {
        result.num_documents += counts.num_documents;
        result.num_bytes += counts.num_bytes;
        result.num_rejected += counts.num_rejected;
        ThrowIfStopped(options.stop, "the counting of words stopped");
        bar.Update(counts.bytes_read, fmt::format("{:.1f} MB of text", 1e-6 * static_cast<double>(result.num_bytes)));
      });
  result.words = std::move(of_threads[0]);
  for (size_t i = 1; i < of_threads.size(); ++i) result.words.Merge(std::exchange(of_threads[i], {}));
  return result;
}

}  // namespace fathom
