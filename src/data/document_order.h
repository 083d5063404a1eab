// Which document comes next: the sources' documents in a random order each epoch, interleaved so that every source keeps its share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/json.h"
#include "data/dataset.h"
#include "data/loader.h"

namespace fathom {

// The count that a position has for a key. Throws UserError where it has none.
int64_t PositionCount(const Json& json, const char* key);

struct DocumentPlace {
  int64_t source = 0, epoch = 0;
  int64_t document = 0;  // in the source's corpus
};

class DocumentOrder {
 public:
  DocumentOrder(std::shared_ptr<const Dataset> dataset, uint64_t seed, Split split);

  // The next document; nothing once every source has come to its limit. Add must be called with the tokens that it gave.
  std::optional<DocumentPlace> Next();
  void Add(int64_t source, int64_t num_tokens) { cursors_[static_cast<size_t>(source)].num_tokens += num_tokens; }
  double EpochsRead(int64_t source) const;

  Json Position() const;
  // Throws UserError for what is not a position of these sources.
  void Seek(const Json& position);

 private:
  struct Cursor {
    int64_t epoch = 0, next = 0;  // in the epoch's order
    int64_t num_tokens = 0;       // given, since the shares are what they are
    bool ended = false;
  };
  // Goes on to the next document of the source that is of the split, or marks its end.
  std::optional<DocumentPlace> NextOf(int64_t source);
  bool InSplit(int64_t source, int64_t document) const;
  double LimitOf(int64_t source) const;  // epochs; 0: none

  std::shared_ptr<const Dataset> dataset_;
  uint64_t seed_;
  Split split_;
  std::vector<Cursor> cursors_;
};

}  // namespace fathom
