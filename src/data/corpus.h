// A tokenised source: a folder with shards, rejects.jsonl and corpus.json, which lists them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "data/input_files.h"
#include "data/shard.h"
#include "data/spec.h"

namespace fathom {

inline constexpr const char* kCorpusIndex = "corpus.json";
inline constexpr const char* kRejectsFile = "rejects.jsonl";

struct ShardEntry {
  std::string file;
  int64_t num_documents = 0, num_tokens = 0, num_bytes = 0;
  uint64_t checksum = 0;
};

// What corpus.json says.
struct CorpusIndex {
  uint64_t tokenizer_hash = 0;
  int64_t vocab_size = 0;
  std::string text_field = "text";
  DocumentUnit unit = DocumentUnit::kFile;
  int64_t shard_tokens = 0;  // a shard ends with the document that reaches this
  std::vector<InputFile> inputs;
  std::vector<ShardEntry> shards;
  int64_t num_rejected = 0, num_empty = 0;
  int64_t rejects_bytes = 0;             // of rejects.jsonl that belong to the shards
  int64_t next_file = 0, next_record = 0;  // where tokenising goes on: records of inputs[next_file] that are done
  bool complete = false;

  int64_t num_documents() const;
  int64_t num_tokens() const;
  int64_t num_bytes() const;
  // Of the tokens and their order.
  uint64_t fingerprint() const;
};

// Throws UserError "<what>: ..." for what is missing, of another kind or out of range; names of shards are file names in the folder.
CorpusIndex ParseCorpusIndex(std::string_view text, const std::string& what);
std::string DumpCorpusIndex(const CorpusIndex& index);

// All shards mapped and checked, against the index too. Immutable and safe to share between threads.
class Corpus {
 public:
  // Throws UserError for a corpus that is not complete, has no document, or of which anything does not fit.
  static std::shared_ptr<const Corpus> Open(const std::filesystem::path& folder, int num_threads);

  const CorpusIndex& index() const { return index_; }
  const std::filesystem::path& folder() const { return folder_; }
  int64_t num_documents() const { return first_document_.back(); }
  int64_t num_tokens() const { return num_tokens_; }
  // Of a document in [0, num_documents).
  void AppendTokens(int64_t document, std::vector<int32_t>& out) const;
  int64_t TokensOf(int64_t document) const;
  uint64_t TextHashOf(int64_t document) const;
  int64_t TextBytesOf(int64_t document) const;

 private:
  Corpus() = default;
  std::pair<const ShardView*, int64_t> Find(int64_t document) const;

  std::filesystem::path folder_;
  CorpusIndex index_;
  std::vector<std::unique_ptr<const Shard>> shards_;
  std::vector<int64_t> first_document_;  // of each shard, and the end
  int64_t num_tokens_ = 0;
};

// Whether a document is held out at this rate: by its text alone, so that copies of it in other sources are too.
bool IsHeldOut(uint64_t text_hash, double rate);

}  // namespace fathom
