#include "engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/error.h"

namespace fathom {
namespace {

std::vector<int32_t> Prompt(int64_t length, int32_t token = 1) { return std::vector<int32_t>(static_cast<size_t>(length), token); }

// Runs a step: every complete item gets `token`.
std::vector<PlannedItem> RunStep(Scheduler& scheduler, int32_t token = 3) {
  const std::vector<PlannedItem> plan = scheduler.Schedule();
  for (const PlannedItem& item : plan) scheduler.Commit(item, item.is_complete ? std::vector<int32_t>{token} : std::vector<int32_t>{});
  return plan;
}

const PlannedItem* Find(const std::vector<PlannedItem>& plan, SequenceId sequence) {
  const auto found = std::find_if(plan.begin(), plan.end(), [&](const PlannedItem& item) { return item.sequence == sequence; });
  return found == plan.end() ? nullptr : &*found;
}

TEST(Scheduler, RunsAPromptInChunksBesideTheDecodingOnes) {
  Scheduler scheduler({.num_blocks = 100, .max_running = 4, .tokens_per_step = 100});
  const SequenceId a = scheduler.Add({.tokens = Prompt(10)});
  RunStep(scheduler);
  const SequenceId b = scheduler.Add({.tokens = Prompt(250, 2)});
  for (const int64_t expected : {99, 99, 52}) {
    const auto plan = RunStep(scheduler);
    ASSERT_NE(Find(plan, a), nullptr);
    EXPECT_EQ(Find(plan, a)->num_known, 1) << "decoding goes on in every step";
    EXPECT_EQ(Find(plan, b)->num_known, expected);
    EXPECT_EQ(Find(plan, b)->is_complete, expected == 52);
  }
  EXPECT_EQ(RunStep(scheduler).size(), 2u);
}

TEST(Scheduler, SharesTheBlocksOfEqualBeginningsAndRunsOnlyTheRest) {
  Scheduler scheduler({.num_blocks = 20, .max_running = 4, .tokens_per_step = 1000});
  const SequenceId a = scheduler.Add({.tokens = Prompt(200)});
  RunStep(scheduler);
  auto longer = Prompt(200);
  longer.push_back(9);
  const SequenceId b = scheduler.Add({.tokens = longer});
  const auto plan = RunStep(scheduler);
  EXPECT_EQ(Find(plan, b)->first, 192) << "three whole blocks; the open one is a's own";
  EXPECT_EQ(scheduler.Blocks(a)[2], scheduler.Blocks(b)[2]);
  EXPECT_NE(scheduler.Blocks(a)[3], scheduler.Blocks(b)[3]);
  EXPECT_EQ(scheduler.NumReused(b), 192);
  scheduler.Remove(a);
  scheduler.Remove(b);
  EXPECT_EQ(scheduler.stats().num_used_blocks, 0);
  auto next = longer;
  next.push_back(3);
  next.push_back(5);
  const SequenceId c = scheduler.Add({.tokens = next});
  EXPECT_EQ(RunStep(scheduler)[0].first, 201) << "the open block too, once nobody uses it";
  EXPECT_EQ(scheduler.NumReused(c), 201);
}

TEST(Scheduler, RunsAtLeastTheLastTokenOfAPromptThatItKnows) {
  Scheduler scheduler({.num_blocks = 20, .max_running = 4, .tokens_per_step = 1000});
  scheduler.Remove([&] { const SequenceId id = scheduler.Add({.tokens = Prompt(128)}); RunStep(scheduler); return id; }());
  scheduler.Add({.tokens = Prompt(128)});
  const auto plan = RunStep(scheduler);
  EXPECT_EQ(plan[0].first, 64) << "a whole block is shared, not written into again";
  EXPECT_TRUE(plan[0].is_complete);
}

TEST(Scheduler, TheYoungestGivesItsBlocksBackWhenTheyRunOut) {
  Scheduler scheduler({.num_blocks = 4, .max_running = 4, .tokens_per_step = 1000, .reuse_prefixes = false});
  const SequenceId old = scheduler.Add({.tokens = Prompt(127, 1)});
  const SequenceId young = scheduler.Add({.tokens = Prompt(127, 2)});
  RunStep(scheduler);
  RunStep(scheduler);
  EXPECT_EQ(scheduler.stats().num_running, 2);
  const auto plan = RunStep(scheduler);  // both need a third block
  EXPECT_NE(Find(plan, old), nullptr);
  EXPECT_EQ(Find(plan, young), nullptr);
  EXPECT_EQ(scheduler.stats().num_preemptions, 1);
  EXPECT_EQ(scheduler.stats().num_waiting, 1);
  scheduler.Remove(old);
  EXPECT_EQ(RunStep(scheduler)[0].num_known, 129) << "its prompt and its two tokens again";
}

TEST(Scheduler, ADraftThatWasWrongLeavesNoTrace) {
  Scheduler scheduler({.num_blocks = 10, .max_running = 4, .tokens_per_step = 100});
  const SequenceId a = scheduler.Add({.tokens = Prompt(62)});
  RunStep(scheduler, 5);
  scheduler.SetDrafts(a, {6, 7, 8});
  auto plan = scheduler.Schedule();
  EXPECT_EQ(plan[0].num_known, 1);
  EXPECT_EQ(plan[0].num_drafts, 3);
  EXPECT_EQ(scheduler.Blocks(a).size(), 2u);
  scheduler.Commit(plan[0], std::vector<int32_t>{6, 9});
  plan = scheduler.Schedule();
  EXPECT_EQ(plan[0].first, 64) << "5 and 6 are computed, 9 is next";
  EXPECT_EQ(plan[0].num_drafts, 0);
  EXPECT_EQ(scheduler.Tokens(a)[64], 9);
}

TEST(Scheduler, UsersTakeTurnsAndPrioritiesShiftThem) {
  Scheduler scheduler({.num_blocks = 100, .max_running = 1, .tokens_per_step = 100});
  std::map<SequenceId, std::string> names;
  const auto add = [&](const std::string& user, int64_t priority) {
    names[scheduler.Add({.tokens = Prompt(10), .cost = 100, .user = user, .priority = priority})] = user + std::to_string(priority);
  };
  for (int i = 0; i < 3; ++i) add("many", 0);
  add("late", 1);
  add("one", 0);
  std::vector<std::string> order;
  while (scheduler.stats().num_waiting > 0) {
    const SequenceId id = RunStep(scheduler)[0].sequence;
    order.push_back(names[id]);
    scheduler.Remove(id);
  }
  EXPECT_THAT(order, ::testing::ElementsAre("many0", "one0", "many0", "many0", "late1"));
}

TEST(Scheduler, NobodyStarvesUnderAFloodOfNewUsers) {
  Scheduler scheduler({.num_blocks = 100, .max_running = 1, .tokens_per_step = 100});
  scheduler.Add({.tokens = Prompt(10), .cost = 1000, .user = "patient"});
  const SequenceId second = scheduler.Add({.tokens = Prompt(10), .cost = 1000, .user = "patient"});
  for (int i = 0; i < 200; ++i) {
    scheduler.Add({.tokens = Prompt(10), .cost = 1000, .user = "new" + std::to_string(i)});
    const SequenceId id = RunStep(scheduler)[0].sequence;
    if (id == second) return;
    scheduler.Remove(id);
  }
  FAIL() << "200 others went before";
}

// Random arrivals, lengths, drafts, cancels and shortages. A model of the cache's content finds blocks that are shared by mistake.
class World {
 public:
  World(uint32_t seed, bool reuse) : random_(seed) {
    options_ = {.num_blocks = Uniform(6, 40), .max_running = Uniform(1, 12), .tokens_per_step = Uniform(16, 300), .reuse_prefixes = reuse};
    scheduler_ = std::make_unique<Scheduler>(options_);
    content_.assign(static_cast<size_t>(options_.num_blocks * kBlockTokens), 0);
  }

  void Run() {
    for (int step = 0; step < 600; ++step) {
      if (step < 400 && Uniform(0, 3) == 0) Arrive();
      if (Uniform(0, 20) == 0 && !live_.empty()) Leave(std::next(live_.begin(), Uniform(0, std::ssize(live_) - 1))->first);
      Step();
    }
    for (int step = 0; !live_.empty(); ++step) {
      ASSERT_LT(step, 20000) << live_.size() << " sequences never end";
      Step();
    }
    EXPECT_EQ(scheduler_->stats().num_used_blocks, 0) << "blocks leak";
    EXPECT_EQ(scheduler_->stats().num_waiting + scheduler_->stats().num_running, 0);
  }

 private:
  int64_t Uniform(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }

  void Arrive() {
    const int64_t most = options_.num_blocks * kBlockTokens;
    const int64_t length = Uniform(0, 9) == 0 ? Uniform(1, most) : Uniform(1, std::min<int64_t>(most, 300));
    std::vector<int32_t> tokens;
    const auto kind = static_cast<int32_t>(Uniform(0, 2));  // few beginnings, so that many are shared
    const int64_t shared = Uniform(0, length);
    for (int64_t i = 0; i < length; ++i) tokens.push_back(i < shared ? kind : static_cast<int32_t>(Uniform(0, 2)));
    const int64_t end = std::min(most, length + Uniform(1, 200));
    const SequenceId id = scheduler_->Add({.tokens = tokens, .cost = end, .user = std::to_string(Uniform(0, 3)), .priority = Uniform(-1, 1)});
    live_[id] = {std::move(tokens), end};
  }

  void Leave(SequenceId id) {
    scheduler_->Remove(id);
    live_.erase(id);
  }

  // What a slot holds after it was computed: a hash of everything up to its token.
  static uint64_t Chain(uint64_t before, int32_t token) { return (before * 31 + static_cast<uint64_t>(token) + 1) * 0x9E3779B97F4A7C15u; }

  void Step() {
    for (auto& [id, sequence] : live_) {
      if (std::ssize(sequence.tokens) < sequence.end && Uniform(0, 4) == 0) {
        std::vector<int32_t> drafts;
        for (int64_t i = Uniform(0, 4); i > 0 && std::ssize(sequence.tokens) + std::ssize(drafts) + 1 < sequence.end; --i) drafts.push_back(static_cast<int32_t>(Uniform(0, 2)));
        scheduler_->SetDrafts(id, drafts);
      }
    }
    const std::vector<PlannedItem> plan = scheduler_->Schedule();
    ASSERT_EQ(plan.empty(), live_.empty());
    CheckPlan(plan);
    for (const PlannedItem& item : plan) Compute(item);
    for (const PlannedItem& item : plan) {
      Live& sequence = live_.at(item.sequence);
      std::vector<int32_t> chosen;
      if (item.is_complete) {
        const auto& drafts = scheduler_->Drafts(item.sequence);
        const int64_t accepted = Uniform(0, item.num_drafts);
        for (int64_t i = 0; i < accepted; ++i) chosen.push_back(drafts[static_cast<size_t>(i)]);
        chosen.push_back(static_cast<int32_t>(Uniform(0, 2)));
      }
      scheduler_->Commit(item, chosen);
      sequence.tokens.insert(sequence.tokens.end(), chosen.begin(), chosen.end());
      ASSERT_EQ(scheduler_->Tokens(item.sequence), sequence.tokens);
      if (std::ssize(sequence.tokens) > sequence.end - 1) Leave(item.sequence);
    }
  }

  void CheckPlan(const std::vector<PlannedItem>& plan) {
    int64_t num_tokens = 0;
    std::map<int32_t, int> writers;
    for (const PlannedItem& item : plan) {
      num_tokens += item.num_known + item.num_drafts;
      ASSERT_GT(item.num_known, 0);
      const auto& blocks = scheduler_->Blocks(item.sequence);
      const int64_t end = item.first + item.num_known + item.num_drafts;
      ASSERT_GE(std::ssize(blocks) * kBlockTokens, end);
      for (int64_t b = item.first / kBlockTokens; b * kBlockTokens < end; ++b) {
        ASSERT_EQ(scheduler_->pool().num_users(blocks[static_cast<size_t>(b)]), 1) << "a block that is written into is nobody else's";
        ASSERT_EQ(++writers[blocks[static_cast<size_t>(b)]], 1);
      }
    }
    ASSERT_LE(num_tokens, std::max(options_.tokens_per_step, options_.max_running));
    ASSERT_LE(scheduler_->stats().num_running, options_.max_running);
    std::map<int32_t, int64_t> users;
    for (const auto& [id, sequence] : live_) {
      for (const int32_t block : scheduler_->Blocks(id)) ++users[block];
    }
    ASSERT_EQ(std::ssize(users), scheduler_->stats().num_used_blocks);
    for (const auto& [block, count] : users) ASSERT_EQ(scheduler_->pool().num_users(block), count);
  }

  void Compute(const PlannedItem& item) {
    const auto& blocks = scheduler_->Blocks(item.sequence);
    const auto slot = [&](int64_t i) -> uint64_t& {
      return content_[static_cast<size_t>(blocks[static_cast<size_t>(i / kBlockTokens)] * kBlockTokens + i % kBlockTokens)];
    };
    std::vector<int32_t> tokens = scheduler_->Tokens(item.sequence);
    tokens.resize(static_cast<size_t>(item.first + item.num_known));
    const auto& drafts = scheduler_->Drafts(item.sequence);
    tokens.insert(tokens.end(), drafts.begin(), drafts.begin() + item.num_drafts);
    uint64_t chain = 0;
    for (int64_t i = 0; i < std::ssize(tokens); ++i) {
      chain = Chain(chain, tokens[static_cast<size_t>(i)]);
      if (i < item.first) ASSERT_EQ(slot(i), chain) << "position " << i << " holds another text's keys";
      else slot(i) = chain;
    }
  }

  struct Live {
    std::vector<int32_t> tokens;
    int64_t end = 0;
  };
  std::mt19937 random_;
  SchedulerOptions options_;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<SequenceId, Live> live_;
  std::vector<uint64_t> content_;
};

TEST(Scheduler, LeaksSharesAndStarvesNothingWhateverHappens) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    World(seed, seed % 4 != 0).Run();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace fathom
