// From a dataset to batches of tokens. The order of the documents and everything about them follow from the seed alone:
//  - in each epoch of a source its documents come in a random order (a permutation that is computed, not stored);
//  - the next document is of the source that has had the fewest tokens for its share, so that at any moment each has its share to within a document;
//  - documents, with an EOS behind each, are one stream of tokens, which rows cut at every sequence_length tokens.
// Nothing is read ahead and no thread takes part, so that a Position is exact: the next batch begins with the very next token.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "data/dataset.h"

namespace fathom {

inline constexpr int64_t kNoLoss = -100;  // a target that has no loss

enum class Split { kTrain, kHeldOut };

struct LoaderOptions {
  int64_t sequence_length = 0;
  uint64_t seed = 0;
  Split split = Split::kTrain;  // kHeldOut: the held-out documents, each once, without FIM
  // The share of rows of this process: rows with index % num_ranks == rank of those asked for. Every rank walks the same stream.
  int rank = 0, num_ranks = 1;
};

// T packed tokens of B sequences, ready for PackedBatch. Without a document mask a sequence is a row; with one it is what a row holds of a document.
struct Batch {
  std::vector<int64_t> tokens;     // [T]
  std::vector<int64_t> targets;    // [T] the next token of the stream; kNoLoss where there is none, and with a mask at a document's end
  std::vector<int64_t> positions;  // [T] in the sequence, from 0
  std::vector<int32_t> lens;       // [B], they add up to T
  int64_t num_rows = 0;
  int64_t num_targets = 0;         // targets that have a loss
  int64_t target_bytes = 0;        // bytes of text that those stand for (special tokens: none): bits per byte = sum of losses / ln 2 / target_bytes
  std::vector<int64_t> domain_tokens;  // [domains of the dataset], they add up to T
};

class DataLoader {
 public:
  // Throws UserError where the split has no document, or FIM is asked for and the tokenizer has not its tokens.
  DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options);
  ~DataLoader();
  DataLoader(DataLoader&&) noexcept;
  DataLoader& operator=(DataLoader&&) noexcept;

  // The next num_rows rows. Fewer, the last of them perhaps short, where every source has come to its repeat limit; nothing when no token is left.
  std::optional<Batch> Next(int64_t num_rows);

  // Where Next goes on, as a JSON object of a few hundred bytes. A loader of the same dataset and seed that Seeks there gives the same batches.
  // sequence_length, the number of rows, ranks, FIM and the shares may change between: the stream goes on at the same token (with changed shares the
  // counts that they are measured by begin again at 0).
  Json Position() const;
  // Throws UserError for a position of another dataset or seed, or one that is damaged.
  void Seek(const Json& position);

  int64_t num_tokens_read() const;           // since the beginning
  std::vector<double> epochs_read() const;   // of each source
  const Dataset& dataset() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace fathom
