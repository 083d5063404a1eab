// Everything that a run reads: the sources of a DataSpec as tokenised corpora, opened and checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/spec.h"
#include "text/tokenizer.h"

namespace fathom {

class Corpus;  // data/corpus.h

struct DatasetOptions {
  std::filesystem::path cache;  // tokenised sources are kept below it, and found again there
  int num_threads = 1;
  std::function<bool()> stop;   // asked now and then; true: the work ends with Interrupted, what is done is kept
  bool show_progress = false;   // bar on stderr
};

struct DatasetSource {
  SourceSpec spec;
  std::shared_ptr<const Corpus> corpus;
  double share = 0;             // of all tokens; shares add up to 1
};

struct Dataset {
  DataSpec spec;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<DatasetSource> sources;
  std::vector<std::string> domains;  // in the order of their first source
  int64_t num_tokens = 0;            // of all sources, held-out documents included
  int64_t num_documents = 0;
  std::string fingerprint;           // of the tokens; equal where a position may be taken up again

  // Tokenises what the cache has not, or only in part, and opens all. `tokenizer_path` is what Tokenizer::Load takes.
  // Throws UserError for sources that are not there, have no document, or were tokenised by another tokenizer, and for damaged shards.
  static std::shared_ptr<const Dataset> Open(const DataSpec& spec, const std::filesystem::path& tokenizer_path, const DatasetOptions& options);
};

// The folder below `cache` for the tokens of a source: named after it and after all that they depend on.
std::filesystem::path CacheFolder(const std::filesystem::path& cache, const SourceSpec& source, uint64_t tokenizer_hash);

}  // namespace fathom
