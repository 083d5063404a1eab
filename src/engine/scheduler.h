// Who runs in the next step. Pure logic over token ids and block numbers: no tensor, no clock, no thread.
//
// A sequence waits, is admitted when the cache has room for all of its known tokens, and runs until it is removed. Each step takes from every
// running sequence its next token (decode), then pieces of the prompts that are not run yet (chunked prefill), together at most
// `tokens_per_step` tokens. When blocks run out the youngest running sequence gives its blocks back and waits again; its tokens are kept
// and recomputed (as far as the pool forgot them).
//
// Order is start-time fair queueing (Goyal et al., SIGCOMM 1996) over users: a sequence's tag is max(the virtual time, its user's last finish tag),
// plus `priority` * kPriorityTokens, and its user's finish tag lies its cost behind. The virtual time follows the tags of those admitted and grows with
// each of them, so that everybody's turn comes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/block_pool.h"

namespace fathom {

using SequenceId = uint64_t;

struct SchedulerOptions {
  int64_t num_blocks = 0;
  int64_t max_running = 256;
  int64_t tokens_per_step = 1024;  // at least max_running
  bool reuse_prefixes = true;
};

struct NewSequence {
  std::vector<int32_t> tokens = {};
  int64_t cost = 0;           // tokens that it may come to
  std::string user = {};
  int64_t priority = 0;       // larger waits longer
  int64_t most_per_step = INT64_MAX;
  bool reuse_prefix = true;   // false: every token of it is run
  std::optional<double> tag = {};  // of a sequence that came before, to stand beside it
};

// Tokens of one sequence in one step: its known tokens [first, first + tokens.size()), then drafts.
struct PlannedItem {
  SequenceId sequence = 0;
  int64_t first = 0;
  int64_t num_known = 0;    // of its known tokens
  int64_t num_drafts = 0;   // guesses behind the last known one
  bool is_complete = false;  // its last known token is among them: the next token can be chosen
};

struct SchedulerStats {
  int64_t num_waiting = 0, num_running = 0;
  int64_t num_blocks = 0, num_used_blocks = 0;
  int64_t num_preemptions = 0;
  int64_t prefix_queried_tokens = 0, prefix_hit_tokens = 0;  // of admitted sequences
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Throws InvariantError when the sequence could not be run alone (more than `most_tokens()` tokens).
  SequenceId Add(NewSequence sequence);
  // Frees everything that the sequence has. What it computed can be found again.
  void Remove(SequenceId sequence);

  // The next step. Empty only when nothing waits or runs.
  std::vector<PlannedItem> Schedule();
  // The step was run. Of a complete item `new_tokens` are the tokens chosen after its last known one: the drafts that were right and one more.
  void Commit(const PlannedItem& item, std::span<const int32_t> new_tokens);
  // Guesses that the next step may check.
  void SetDrafts(SequenceId sequence, std::vector<int32_t> drafts);

  const std::vector<int32_t>& Tokens(SequenceId sequence) const { return At(sequence).tokens; }
  const std::vector<int32_t>& Drafts(SequenceId sequence) const { return At(sequence).drafts; }
  const std::vector<int32_t>& Blocks(SequenceId sequence) const { return At(sequence).blocks; }
  double Tag(SequenceId sequence) const { return At(sequence).tag; }
  // Tokens that were in the cache when it was admitted first.
  int64_t NumReused(SequenceId sequence) const { return At(sequence).num_reused; }
  int64_t most_tokens() const { return options_.num_blocks * kBlockTokens; }
  const BlockPool& pool() const { return pool_; }
  SchedulerStats stats() const;

  static constexpr double kPriorityTokens = 4096;
  static constexpr double kLeastAdvance = 16;  // of the virtual time, an admission

 private:
  struct Sequence {
    SequenceId id = 0;
    std::vector<int32_t> tokens, drafts, blocks;
    std::vector<ContentId> contents;  // of the whole blocks that are computed
    int64_t num_computed = 0;
    int64_t num_reused = -1;
    int64_t most_per_step = 0;
    bool reuse_prefix = true, is_running = false;
    double tag = 0;
    int64_t num_pending() const { return static_cast<int64_t>(tokens.size()) - num_computed; }
  };
  using Place = std::pair<double, SequenceId>;  // order among sequences: tag, then arrival

  Sequence& At(SequenceId sequence);
  const Sequence& At(SequenceId sequence) const { return const_cast<Scheduler*>(this)->At(sequence); }
  static Place PlaceOf(const Sequence& s) { return {s.tag, s.id}; }
  bool Admit(Sequence& s);
  bool MakeRoom(Sequence& s, int64_t num_tokens);
  void ReleaseBlocks(Sequence& s);
  void Preempt(Sequence& s);
  void Plan(Sequence& s, int64_t& budget, std::vector<PlannedItem>& plan);

  SchedulerOptions options_;
  BlockPool pool_;
  std::map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::set<Place> waiting_, running_;
  std::map<std::string, double> finish_tags_;  // of users, where later than the virtual time
  double virtual_time_ = 0;
  SequenceId next_id_ = 1;
  SchedulerStats counts_;
};

}  // namespace fathom
