// How FindSources looks a weight up in each format.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/weight_source.h"

namespace fathom {

// Tensors by name, remembering which were asked for.
class NamedEntries {
 public:
  explicit NamedEntries(const TensorFiles& files) : files_(files) {}
  const TensorEntry* Take(const std::string& name) {
    const TensorEntry* entry = files_.Find(name);
    if (entry != nullptr) taken_.insert(entry->name);
    return entry;
  }
  bool IsTaken(const TensorEntry& entry) const { return taken_.contains(entry.name); }
  const TensorFiles& files() const { return files_; }

 private:
  const TensorFiles& files_;
  std::set<std::string_view> taken_;
};

// Throws UserError unless the entry has this shape and a type of floating point (block formats are).
void CheckWeight(const TensorEntry& entry, const std::vector<int64_t>& shape, const TensorFiles& files);
// A source that reads the entry as it stands. The entry must outlive it.
void ReadEntry(const TensorEntry& entry, WeightSource& source);
// The line for a weight that is not there; `name` is the file's name for it.
[[noreturn]] void FailMissing(const WeightSpec& spec, const std::string& name, const Checkpoint& checkpoint);

// Fills all but `spec` of `source`; leaves `read` empty when the weight is not there and optional.
void FindHubSource(const Checkpoint& checkpoint, NamedEntries& entries, WeightSource& source);
void FindGgufSource(const Checkpoint& checkpoint, NamedEntries& entries, WeightSource& source);

}  // namespace fathom
