// Text to a tokenised corpus: in parallel, in the order of the files whatever the number of threads, and so that a run that was cut off goes on where its
// last shard ended.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/spec.h"
#include "text/tokenizer.h"

namespace fathom {

struct TokenizerFile {
  std::shared_ptr<const Tokenizer> tokenizer;
  uint64_t hash = 0;  // of tokenizer.json, or of a GGUF's header
};
// Throws UserError like Tokenizer::Load.
TokenizerFile LoadTokenizerFile(const std::filesystem::path& path);

struct TokenizeOptions {
  int num_threads = 1;
  int64_t shard_tokens = 1 << 24;
  std::function<bool()> stop;  // asked after each shard and block; true: Interrupted, what is done is kept
  bool show_progress = false;
};

// Fills `folder` (made where it is not there) with the corpus of a source. One that is complete is left as it is; one that was begun is taken further.
// Lines that cannot be read go to rejects.jsonl {"file", "line", "reason", "text"} and are counted; a file that is damaged or gone is one of them.
// Documents without tokens are left out and counted as empty. Special tokens in the text are text.
// Throws UserError where the folder has something else, or a corpus of other files, settings or another tokenizer; MachineError for a full disk.
CorpusIndex TokenizeSource(const SourceSpec& source, const TokenizerFile& tokenizer, const std::filesystem::path& folder, const TokenizeOptions& options);

}  // namespace fathom
