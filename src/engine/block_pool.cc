#include "engine/block_pool.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace fathom {
namespace {

template <typename Map, typename Key>
void EraseEntry(Map& map, const Key& key, int32_t block) {
  const auto [first, last] = map.equal_range(key);
  for (auto it = first; it != last; ++it) {
    if (it->second != block) continue;
    map.erase(it);
    return;
  }
  FATHOM_CHECK(false, "block {} is not where it is looked for", block);
}

}  // namespace

BlockPool::BlockPool(int64_t num_blocks) : blocks_(static_cast<size_t>(num_blocks)) {
  for (int64_t block = num_blocks - 1; block >= 0; --block) free_.push_back(static_cast<int32_t>(block));
}

// FNV-1a over whole tokens, then mixed. Equality is always checked on the tokens themselves.
uint64_t BlockPool::HashOf(ContentId before, std::span<const int32_t> tokens) {
  uint64_t hash = 0xcbf29ce484222325u ^ before;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001b3u;
  return hash ^ (hash >> 31);
}

int32_t BlockPool::Allocate() {
  int32_t block = -1;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else {
    FATHOM_CHECK(!unused_.empty(), "all of the cache's {} blocks are in use", blocks_.size());
    block = unused_.front();
    unused_.pop_front();
    Forget(block);
  }
  At(block).num_users = 1;
  return block;
}

void BlockPool::AddUser(int32_t block) {
  Block& b = At(block);
  FATHOM_CHECK(b.num_users > 0 || b.is_known, "block {} is free", block);
  if (b.num_users++ == 0) unused_.erase(b.unused);
}

void BlockPool::RemoveUser(int32_t block) {
  Block& b = At(block);
  FATHOM_CHECK(b.num_users > 0, "block {} is free", block);
  if (--b.num_users > 0) return;
  if (b.is_known) b.unused = unused_.insert(unused_.end(), block);
  else free_.push_back(block);
}

void BlockPool::Forget(int32_t block) {
  Block& b = At(block);
  if (b.content != 0) EraseEntry(whole_, HashOf(b.before, b.tokens), block);
  else EraseEntry(tails_, b.before, block);
  b.is_known = false;
  b.content = 0;
  b.tokens.clear();
}

ContentId BlockPool::Register(int32_t block, ContentId before, std::span<const int32_t> tokens) {
  FATHOM_CHECK(std::ssize(tokens) == kBlockTokens, "a whole block of {} tokens", tokens.size());
  if (const auto found = FindWhole(before, tokens)) return found->content;
  Block& b = At(block);
  FATHOM_CHECK(b.num_users > 0 && !b.is_known, "block {} has {} users and holds something known", block, b.num_users);
  b.is_known = true;
  b.before = before;
  b.content = next_content_++;
  b.tokens.assign(tokens.begin(), tokens.end());
  whole_.emplace(HashOf(before, tokens), block);
  return b.content;
}

void BlockPool::RegisterTail(int32_t block, ContentId before, std::span<const int32_t> tokens) {
  Block& b = At(block);
  FATHOM_CHECK(b.num_users == 1 && !b.is_known && !tokens.empty() && std::ssize(tokens) < kBlockTokens, "block {} with {} users as a tail of {} tokens",
               block, b.num_users, tokens.size());
  b.is_known = true;
  b.before = before;
  b.content = 0;
  b.tokens.assign(tokens.begin(), tokens.end());
  tails_.emplace(before, block);
}

std::optional<BlockPool::Found> BlockPool::FindWhole(ContentId before, std::span<const int32_t> tokens) const {
  const auto [first, last] = whole_.equal_range(HashOf(before, tokens));
  for (auto it = first; it != last; ++it) {
    const Block& b = blocks_[static_cast<size_t>(it->second)];
    if (b.before == before && std::equal(b.tokens.begin(), b.tokens.end(), tokens.begin(), tokens.end())) return Found{it->second, b.content, kBlockTokens};
  }
  return std::nullopt;
}

std::optional<BlockPool::Found> BlockPool::FindTail(ContentId before, std::span<const int32_t> tokens) const {
  std::optional<Found> best;
  const auto [first, last] = tails_.equal_range(before);
  for (auto it = first; it != last; ++it) {
    const Block& b = blocks_[static_cast<size_t>(it->second)];
    if (b.num_users > 0) continue;
    const auto differ = std::mismatch(b.tokens.begin(), b.tokens.end(), tokens.begin(), tokens.end());
    const int64_t agree = differ.first - b.tokens.begin();
    if (agree > (best ? best->num_tokens : 0)) best = Found{it->second, 0, agree};
  }
  return best;
}

void BlockPool::TakeTail(int32_t block) {
  AddUser(block);
  FATHOM_CHECK(num_users(block) == 1 && At(block).content == 0, "block {} is no unused tail", block);
  Forget(block);
}

}  // namespace fathom
