// The cache's blocks (a block is a page of the cache: 64 tokens), who uses them and what they hold: blocks of equal beginnings are shared, and
// what nobody uses any more stays to be found again until its room is needed, least recently used out first. Pure bookkeeping, no tensor.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace fathom {

inline constexpr int64_t kBlockTokens = 64;

// Names what a block holds together with all that is before it. Never used twice. 0: the beginning of a sequence.
using ContentId = uint64_t;

class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  // A block with one user and no known content. The pool must have an available one.
  int32_t Allocate();
  // One more user.
  void AddUser(int32_t block);
  // One user less. After the last one a block with known content waits to be found again, another is free.
  void RemoveUser(int32_t block);

  // Says that `block` holds these kBlockTokens tokens after what `before` names. The content's name: where another block holds the same already,
  // that one's, and it stays the one that is found.
  ContentId Register(int32_t block, ContentId before, std::span<const int32_t> tokens);
  // Says that `block`, which has one user, holds these tokens, fewer than kBlockTokens; it is found only while nobody uses it. Call before RemoveUser.
  void RegisterTail(int32_t block, ContentId before, std::span<const int32_t> tokens);

  struct Found {
    int32_t block = -1;
    ContentId content = 0;
    int64_t num_tokens = 0;  // that agree
  };
  // The block that holds exactly these kBlockTokens tokens after `before`.
  std::optional<Found> FindWhole(ContentId before, std::span<const int32_t> tokens) const;
  // The unused tail after `before` that agrees longest with the beginning of `tokens`, at least in one token.
  std::optional<Found> FindTail(ContentId before, std::span<const int32_t> tokens) const;
  // Takes an unused tail for one user; it is found no more, since its user writes into it.
  void TakeTail(int32_t block);

  int64_t num_blocks() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t num_available() const { return static_cast<int64_t>(free_.size() + unused_.size()); }
  int64_t num_used() const { return num_blocks() - num_available(); }
  int64_t num_users(int32_t block) const { return blocks_[static_cast<size_t>(block)].num_users; }

 private:
  struct Block {
    int64_t num_users = 0;
    bool is_known = false;    // can be found
    ContentId before = 0;
    ContentId content = 0;    // 0: a tail
    std::vector<int32_t> tokens = {};
    std::list<int32_t>::iterator unused = {};  // where it stands in unused_
  };
  static uint64_t HashOf(ContentId before, std::span<const int32_t> tokens);
  void Forget(int32_t block);
  Block& At(int32_t block) { return blocks_[static_cast<size_t>(block)]; }

  std::vector<Block> blocks_;
  std::vector<int32_t> free_;      // the next one to give is last
  std::list<int32_t> unused_;      // known and without users, least recently used first
  std::unordered_multimap<uint64_t, int32_t> whole_;   // by HashOf
  std::unordered_multimap<ContentId, int32_t> tails_;  // by what is before
  ContentId next_content_ = 1;
};

}  // namespace fathom
