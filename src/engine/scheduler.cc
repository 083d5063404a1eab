#include "engine/scheduler.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace fathom {
namespace {

int64_t BlocksFor(int64_t num_tokens) { return (num_tokens + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options) : options_(options), pool_(options.num_blocks) {
  FATHOM_CHECK(options.num_blocks > 0 && options.max_running > 0, "{} blocks for {} sequences", options.num_blocks, options.max_running);
  options_.tokens_per_step = std::max(options.tokens_per_step, options.max_running);  // so that every running sequence moves in every step
}

Scheduler::Sequence& Scheduler::At(SequenceId sequence) {
  const auto found = sequences_.find(sequence);
  FATHOM_CHECK(found != sequences_.end(), "no sequence {}", sequence);
  return *found->second;
}

SequenceId Scheduler::Add(NewSequence added) {
  FATHOM_CHECK(!added.tokens.empty() && std::ssize(added.tokens) <= most_tokens(), "a sequence of {} tokens in a cache of {}", added.tokens.size(),
               most_tokens());
  auto s = std::make_unique<Sequence>();
  s->id = next_id_++;
  if (added.tag) {
    s->tag = *added.tag;
  } else {
    std::erase_if(finish_tags_, [&](const auto& entry) { return entry.second <= virtual_time_; });
    double& finish = finish_tags_[added.user];
    const double start = std::max(virtual_time_, finish);
    finish = start + static_cast<double>(std::max<int64_t>(added.cost, 1));
    s->tag = start + static_cast<double>(added.priority) * kPriorityTokens;
  }
  s->tokens = std::move(added.tokens);
  s->most_per_step = std::max<int64_t>(added.most_per_step, 1);
  s->reuse_prefix = added.reuse_prefix && options_.reuse_prefixes;
  const SequenceId id = s->id;
  waiting_.insert(PlaceOf(*s));
  sequences_.emplace(id, std::move(s));
  return id;
}

void Scheduler::Remove(SequenceId sequence) {
  Sequence& s = At(sequence);
  ReleaseBlocks(s);
  (s.is_running ? running_ : waiting_).erase(PlaceOf(s));
  sequences_.erase(sequence);
}

void Scheduler::ReleaseBlocks(Sequence& s) {
  const int64_t num_whole = s.num_computed / kBlockTokens, num_open = s.num_computed % kBlockTokens;
  if (s.reuse_prefix && num_open > 0 && std::ssize(s.contents) == num_whole) {
    const std::span<const int32_t> tokens(s.tokens.data() + num_whole * kBlockTokens, static_cast<size_t>(num_open));
    pool_.RegisterTail(s.blocks[static_cast<size_t>(num_whole)], s.contents.empty() ? 0 : s.contents.back(), tokens);
  }
  // The end first: it is the first to be forgotten, since it is of no use without what is before.
  for (auto block = s.blocks.rbegin(); block != s.blocks.rend(); ++block) pool_.RemoveUser(*block);
  s.blocks.clear();
  s.contents.clear();
  s.num_computed = 0;
}

void Scheduler::Preempt(Sequence& s) {
  ReleaseBlocks(s);
  s.drafts.clear();
  running_.erase(PlaceOf(s));
  s.is_running = false;
  waiting_.insert(PlaceOf(s));
  ++counts_.num_preemptions;
}

// Finds what of its tokens is computed already and takes blocks for all of them; false where the pool has too few.
bool Scheduler::Admit(Sequence& s) {
  const int64_t num_tokens = std::ssize(s.tokens);
  const int64_t most_reused = s.reuse_prefix ? num_tokens - 1 : 0;  // the last one is run for its logits
  std::vector<BlockPool::Found> whole;
  ContentId before = 0;
  int64_t num_unused = 0;  // of the found ones: they count as available until they are taken
  const auto rest_from = [&](int64_t first) { return std::span<const int32_t>(s.tokens.data() + first, static_cast<size_t>(num_tokens - first)); };
  while ((std::ssize(whole) + 1) * kBlockTokens <= most_reused) {
    const auto found = pool_.FindWhole(before, rest_from(std::ssize(whole) * kBlockTokens).first(kBlockTokens));
    if (!found) break;
    whole.push_back(*found);
    before = found->content;
    num_unused += pool_.num_users(found->block) == 0 ? 1 : 0;
  }
  const int64_t num_whole = std::ssize(whole), held = num_whole * kBlockTokens;
  std::optional<BlockPool::Found> tail;
  if (most_reused > held) tail = pool_.FindTail(before, rest_from(held).first(static_cast<size_t>(most_reused - held)));
  const int64_t num_found = num_whole + (tail ? 1 : 0);
  if (BlocksFor(num_tokens) - num_found > pool_.num_available() - num_unused - (tail ? 1 : 0)) return false;

  for (const BlockPool::Found& found : whole) {
    pool_.AddUser(found.block);
    s.blocks.push_back(found.block);
    s.contents.push_back(found.content);
  }
  if (tail) {
    pool_.TakeTail(tail->block);
    s.blocks.push_back(tail->block);
  }
  s.num_computed = held + (tail ? tail->num_tokens : 0);
  if (s.num_reused < 0) {
    s.num_reused = s.num_computed;
    counts_.prefix_queried_tokens += num_tokens;
    counts_.prefix_hit_tokens += s.num_computed;
  }
  while (std::ssize(s.blocks) < BlocksFor(num_tokens)) s.blocks.push_back(pool_.Allocate());
  waiting_.erase(PlaceOf(s));
  s.is_running = true;
  running_.insert(PlaceOf(s));
  virtual_time_ = std::max(virtual_time_, s.tag) + kLeastAdvance;
  return true;
}

// Blocks for the first `num_tokens` tokens of a running sequence, from the youngest ones where none is left. False: it was the youngest itself.
bool Scheduler::MakeRoom(Sequence& s, int64_t num_tokens) {
  while (std::ssize(s.blocks) < BlocksFor(num_tokens)) {
    if (pool_.num_available() > 0) {
      s.blocks.push_back(pool_.Allocate());
      continue;
    }
    Sequence& youngest = At(running_.rbegin()->second);
    Preempt(youngest);
    if (&youngest == &s) return false;
  }
  return true;
}

void Scheduler::Plan(Sequence& s, int64_t& budget, std::vector<PlannedItem>& plan) {
  PlannedItem item{.sequence = s.id, .first = s.num_computed, .num_known = std::min({s.num_pending(), s.most_per_step, budget})};
  item.is_complete = item.num_known == s.num_pending();
  if (item.is_complete && !s.drafts.empty()) {
    // A guess is worth no one else's block.
    const int64_t room = (std::ssize(s.blocks) + pool_.num_available()) * kBlockTokens - std::ssize(s.tokens);
    item.num_drafts = std::max<int64_t>(std::min({std::ssize(s.drafts), budget - item.num_known, room}), 0);
  }
  if (!MakeRoom(s, item.first + item.num_known + item.num_drafts)) return;
  budget -= item.num_known + item.num_drafts;
  plan.push_back(item);
}

std::vector<PlannedItem> Scheduler::Schedule() {
  std::vector<PlannedItem> plan;
  int64_t budget = options_.tokens_per_step;
  const int64_t preemptions_before = counts_.num_preemptions;
  std::vector<SequenceId> decoding, prefilling;
  for (const auto& [tag, id] : running_) (At(id).num_pending() == 1 ? decoding : prefilling).push_back(id);
  // Drafts leave every other decoding sequence its token.
  int64_t owed = std::ssize(decoding);
  for (const SequenceId id : decoding) {
    Sequence& s = At(id);
    --owed;
    if (!s.is_running) continue;  // preempted by one before it
    int64_t share = budget - owed;
    const int64_t before = share;
    Plan(s, share, plan);
    budget -= before - share;
  }
  for (const SequenceId id : prefilling) {
    if (budget == 0) break;
    if (At(id).is_running) Plan(At(id), budget, plan);
  }
  // Nobody is let in past one who does not fit yet, nor while blocks are so short that someone had to leave.
  while (budget > 0 && !waiting_.empty() && std::ssize(running_) < options_.max_running && counts_.num_preemptions == preemptions_before) {
    Sequence& s = At(waiting_.begin()->second);
    if (!Admit(s)) break;
    Plan(s, budget, plan);
  }
  FATHOM_CHECK(!plan.empty() || sequences_.empty() || counts_.num_preemptions > preemptions_before, "{} sequences wait for nothing", sequences_.size());
  if (plan.empty() && !sequences_.empty()) return Schedule();  // the last running one gave its blocks back: now others may come in
  return plan;
}

void Scheduler::Commit(const PlannedItem& item, std::span<const int32_t> new_tokens) {
  Sequence& s = At(item.sequence);
  FATHOM_CHECK(item.first == s.num_computed && item.is_complete == !new_tokens.empty() && std::ssize(new_tokens) <= item.num_drafts + 1,
               "{} new tokens after {} drafts", new_tokens.size(), item.num_drafts);
  s.num_computed = item.first + item.num_known + std::max<int64_t>(std::ssize(new_tokens) - 1, 0);
  s.tokens.insert(s.tokens.end(), new_tokens.begin(), new_tokens.end());
  if (item.is_complete) s.drafts.clear();
  if (!s.reuse_prefix) return;
  while ((std::ssize(s.contents) + 1) * kBlockTokens <= s.num_computed) {
    const size_t index = s.contents.size();
    const std::span<const int32_t> tokens(s.tokens.data() + index * kBlockTokens, kBlockTokens);
    s.contents.push_back(pool_.Register(s.blocks[index], index > 0 ? s.contents.back() : 0, tokens));
  }
}

void Scheduler::SetDrafts(SequenceId sequence, std::vector<int32_t> drafts) { At(sequence).drafts = std::move(drafts); }

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats = counts_;
  stats.num_waiting = std::ssize(waiting_);
  stats.num_running = std::ssize(running_);
  stats.num_blocks = pool_.num_blocks();
  stats.num_used_blocks = pool_.num_used();
  return stats;
}

}  // namespace fathom
