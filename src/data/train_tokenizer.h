// A tokenizer from training data.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/spec.h"
#include "text/bpe_trainer.h"

namespace fathom {

struct WordCountOptions {
  std::string family = "deepseek-v3";  // of the pre-tokenizer
  int num_threads = 1;
  std::function<bool()> stop;
  bool show_progress = false;
};

struct WordCountResult {
  WordCounts words;
  int64_t num_documents = 0, num_bytes = 0, num_rejected = 0;
};

// Reads the source once and counts the words of its documents, each of which is cut by itself. Throws UserError for a source that is not there.
WordCountResult CountWords(const SourceSpec& source, const WordCountOptions& options);

}  // namespace fathom
