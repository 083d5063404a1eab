// What raw sources hold, before anything is tokenised.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/spec.h"

namespace fathom {

struct SourceSummary {
  int64_t num_files = 0, file_bytes = 0;
  std::map<std::string, int64_t> formats;  // files of each: text, jsonl, parquet
  int64_t num_documents = 0, text_bytes = 0;
  int64_t shortest = 0, longest = 0, median = 0;  // bytes of a document
  int64_t num_empty = 0, num_rejected = 0;
  int64_t num_duplicates = 0;  // documents whose text has stood before, to the letter
  struct Reject {
    std::string file;
    int64_t line = 0;
    std::string reason;
  };
  std::vector<Reject> rejects;        // the first ones
  std::vector<std::string> examples;  // the first num_examples documents
};

// Reads everything once. Throws UserError for paths that name nothing.
SourceSummary InspectSource(const SourceSpec& source, int num_threads, int64_t num_examples, const std::function<bool()>& stop, bool show_progress);

}  // namespace fathom
