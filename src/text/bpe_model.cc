#include "text/bpe_model.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <limits>
#include <queue>

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {
namespace {

constexpr int32_t kMaxId = 1 << 22;     // far above any vocabulary; bounds the memory that a lying file can ask for
constexpr size_t kFewSymbols = 40;      // up to here a scan for the best pair is faster than a heap
constexpr uint64_t kEmptySlot = ~uint64_t{0};

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

uint64_t Mix(uint64_t key) {
  key *= 0x9E3779B97F4A7C15ull;
  return key ^ key >> 29;
}

uint64_t NextSerial() {
  static std::atomic<uint64_t> serial{0};
  return ++serial;
}

}  // namespace

// Pieces and their ids: a direct-mapped table of each thread. What does not fit is computed again.
struct BpeModel::Cache {
  static constexpr size_t kNumEntries = 1 << 15;
  static constexpr size_t kMaxBytes = 24;
  static constexpr size_t kMaxIds = 8;
  struct Entry {
    uint64_t key[3] = {};  // the piece's bytes, zeros behind them
    uint8_t num_bytes = 0;  // 0: nothing here
    uint8_t num_ids = 0;
    int32_t ids[kMaxIds] = {};
  };
  struct Key {
    uint64_t words[3] = {};
    size_t index = 0;
  };

  static Key KeyOf(std::string_view piece) {
    Key key;
    std::memcpy(key.words, piece.data(), piece.size());
    const uint64_t mixed = Mix(Mix(key.words[0] ^ piece.size()) ^ key.words[1]) ^ key.words[2];
    key.index = Mix(mixed) >> 40 & (kNumEntries - 1);
    return key;
  }

  uint64_t serial = 0;
  std::vector<Entry> entries;
};

BpeModel::BpeModel(const std::vector<std::pair<std::string, int32_t>>& tokens,
                   const std::vector<std::pair<std::string, std::string>>& merges, BpeOptions options)
    : options_(std::move(options)), serial_(NextSerial()) {
  size_t num_bytes = 0;
  int32_t end_id = 0;
  for (const auto& [text, id] : tokens) {
    FATHOM_USER_CHECK(id >= 0 && id < kMaxId, "vocabulary: id {} of token '{}' is out of range", id, text);
    FATHOM_USER_CHECK(IsValidUtf8(text), "vocabulary: token {} is not valid UTF-8", id);
    num_bytes += text.size();
    end_id = std::max(end_id, id + 1);
  }
  FATHOM_USER_CHECK(num_bytes < std::numeric_limits<uint32_t>::max(), "vocabulary: {} bytes of text are too many", num_bytes);
  arena_.reserve(num_bytes);
  texts_.assign(static_cast<size_t>(end_id), {0, -1});
  ids_.reserve(tokens.size());
  for (const auto& [text, id] : tokens) {
    FATHOM_USER_CHECK(texts_[id].second < 0, "vocabulary: id {} is given twice", id);
    texts_[id] = {static_cast<uint32_t>(arena_.size()), static_cast<int32_t>(text.size())};
    arena_.insert(arena_.end(), text.begin(), text.end());
    FATHOM_USER_CHECK(ids_.emplace(*Text(id), id).second, "vocabulary: token '{}' is given twice", text);
  }
  BuildMerges(merges);

  for (int byte = 0; byte < 256; ++byte) {
    std::string character;
    AppendUtf8(character, ByteToCharacter(static_cast<uint8_t>(byte)));
    byte_ids_[byte] = Find(character);
    fallback_ids_[byte] = Find(fmt::format("<0x{:02X}>", byte));
  }
  if (options_.unk_token) {
    unk_id_ = Find(*options_.unk_token);
    FATHOM_USER_CHECK(unk_id_ >= 0, "vocabulary: the unknown token '{}' is not in it", *options_.unk_token);
  }
  if (options_.ignore_merges && options_.byte_level)
    for (const auto& [text, id] : ids_)
      if (auto bytes = BytesOfAlphabetText(text)) byte_pieces_.emplace(std::move(*bytes), id);
}

BpeModel::~BpeModel() = default;
BpeModel::BpeModel(BpeModel&&) noexcept = default;
BpeModel& BpeModel::operator=(BpeModel&&) noexcept = default;

void BpeModel::BuildMerges(const std::vector<std::pair<std::string, std::string>>& merges) {
  merges_.resize(std::bit_ceil(std::max<size_t>(16, merges.size() * 2)));
  const size_t mask = merges_.size() - 1;
  std::string whole;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const int32_t left_id = Find(left), right_id = Find(right);
    whole.assign(left).append(right);
    const int32_t id = Find(whole);
    FATHOM_USER_CHECK(left_id >= 0 && right_id >= 0 && id >= 0,
                      "merge {} ('{}' and '{}'): both parts and the whole must be in the vocabulary", rank, left, right);
    const uint64_t key = PairKey(left_id, right_id);
    size_t slot = Mix(key) & mask;
    while (merges_[slot].pair != kEmptySlot && merges_[slot].pair != key) slot = (slot + 1) & mask;
    merges_[slot] = {key, static_cast<uint32_t>(rank), id};
  }
}

const BpeModel::MergeSlot* BpeModel::FindMerge(int32_t left, int32_t right) const {
  const uint64_t key = PairKey(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = Mix(key) & mask;; slot = (slot + 1) & mask) {
    if (merges_[slot].pair == key) return &merges_[slot];
    if (merges_[slot].pair == kEmptySlot) return nullptr;
  }
}

int32_t BpeModel::Find(std::string_view token) const {
  const auto it = ids_.find(token);
  return it == ids_.end() ? -1 : it->second;
}

std::optional<std::string_view> BpeModel::Text(int32_t id) const {
  if (id < 0 || id >= end_id() || texts_[id].second < 0) return std::nullopt;
  return std::string_view(arena_.data() + texts_[id].first, static_cast<size_t>(texts_[id].second));
}

BpeModel::Cache& BpeModel::CacheOfThread() const {
  // Models in turn keep their caches; with more than these the oldest is given up.
  static thread_local std::array<Cache, 8> caches;
  static thread_local size_t oldest = 0;
  for (Cache& cache : caches)
    if (cache.serial == serial_) return cache;
  Cache& cache = caches[oldest];
  oldest = (oldest + 1) % caches.size();
  cache.serial = serial_;
  cache.entries.assign(Cache::kNumEntries, {});
  return cache;
}

void BpeModel::Encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.size() == 1 && options_.byte_level) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(piece[0])];
    if (id >= 0) return ids.push_back(id);
  }
  if (piece.size() > Cache::kMaxBytes) return EncodeUncached(piece, ids);
  Cache& cache = CacheOfThread();
  const Cache::Key key = Cache::KeyOf(piece);
  Cache::Entry& entry = cache.entries[key.index];
  if (entry.num_bytes == piece.size() && entry.key[0] == key.words[0] && entry.key[1] == key.words[1] &&
      entry.key[2] == key.words[2]) {
    ids.insert(ids.end(), entry.ids, entry.ids + entry.num_ids);
    return;
  }
  const size_t first = ids.size();
  EncodeUncached(piece, ids);
  const size_t num_ids = ids.size() - first;
  if (num_ids > Cache::kMaxIds) return;
  std::copy(key.words, key.words + 3, entry.key);
  entry.num_bytes = static_cast<uint8_t>(piece.size());
  entry.num_ids = static_cast<uint8_t>(num_ids);
  std::copy(ids.begin() + static_cast<ptrdiff_t>(first), ids.end(), entry.ids);
}

void BpeModel::EncodeUncached(std::string_view piece, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    int32_t id = -1;
    if (!options_.byte_level) {
      id = Find(piece);
    } else if (const auto it = byte_pieces_.find(std::string(piece)); it != byte_pieces_.end()) {
      id = it->second;
    }
    if (id >= 0) return ids.push_back(id);
  }
  std::vector<int32_t> symbols;
  symbols.reserve(piece.size());
  if (options_.byte_level)
    AppendSymbols(piece, symbols);
  else
    AppendCharacters(piece, symbols);
  if (symbols.size() <= kFewSymbols)
    MergeFew(symbols);
  else
    MergeMany(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void BpeModel::AppendSymbols(std::string_view piece, std::vector<int32_t>& symbols) const {
  bool unknown_before = false;
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      symbols.push_back(id);
    } else if (unk_id_ >= 0 && !(unknown_before && options_.fuse_unk)) {
      symbols.push_back(unk_id_);
    }
    unknown_before = id < 0;
  }
}

// As in Hugging Face's library an unknown token is written only once the next known character comes, so behind the
// <0xXX> tokens that may stand between them.
void BpeModel::AppendCharacters(std::string_view piece, std::vector<int32_t>& symbols) const {
  bool unknown_waits = false;
  for (const char* p = piece.data(); p < piece.data() + piece.size();) {
    const char* const start = p;
    NextCodePoint(p);
    const std::string_view character(start, static_cast<size_t>(p - start));
    if (const int32_t id = Find(character); id >= 0) {
      if (unknown_waits) symbols.push_back(unk_id_);
      unknown_waits = false;
      symbols.push_back(id);
      continue;
    }
    const auto fallback = [&](char c) { return fallback_ids_[static_cast<unsigned char>(c)]; };
    if (options_.byte_fallback &&
        std::all_of(character.begin(), character.end(), [&](char c) { return fallback(c) >= 0; })) {
      for (const char c : character) symbols.push_back(fallback(c));
      continue;
    }
    if (unk_id_ < 0) continue;
    if (unknown_waits && !options_.fuse_unk) symbols.push_back(unk_id_);
    unknown_waits = true;
  }
  if (unknown_waits) symbols.push_back(unk_id_);
}

void BpeModel::MergeFew(std::vector<int32_t>& symbols) const {
  const MergeSlot* merges[kFewSymbols];  // of symbol i with the next
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = FindMerge(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = count;
    uint32_t best_rank = std::numeric_limits<uint32_t>::max();
    for (size_t i = 0; i + 1 < count; ++i)
      if (merges[i] != nullptr && merges[i]->rank < best_rank) {
        best = i;
        best_rank = merges[i]->rank;
      }
    if (best == count) break;
    symbols[best] = merges[best]->id;
    --count;
    for (size_t i = best + 1; i < count; ++i) symbols[i] = symbols[i + 1];
    for (size_t i = best + 1; i + 1 < count; ++i) merges[i] = merges[i + 1];
    if (best > 0) merges[best - 1] = FindMerge(symbols[best - 1], symbols[best]);
    if (best + 1 < count) merges[best] = FindMerge(symbols[best], symbols[best + 1]);
  }
  symbols.resize(count);
}

void BpeModel::MergeMany(std::vector<int32_t>& symbols) const {
  struct Candidate {
    uint32_t rank;
    uint32_t left;
    int32_t left_id, right_id, id;
    bool operator<(const Candidate& other) const {  // the top of the heap: lowest rank, then leftmost
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  const auto count = static_cast<uint32_t>(symbols.size());
  FATHOM_CHECK(symbols.size() < kNone, "a piece of {} symbols", symbols.size());
  std::vector<uint32_t> next(count), previous(count);
  std::vector<Candidate> heap;
  const auto candidate = [&](uint32_t left, uint32_t right) -> std::optional<Candidate> {
    const MergeSlot* merge = FindMerge(symbols[left], symbols[right]);
    if (merge == nullptr) return std::nullopt;
    return Candidate{merge->rank, left, symbols[left], symbols[right], merge->id};
  };
  for (uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kNone;
    previous[i] = i > 0 ? i - 1 : kNone;
    if (i + 1 < count)
      if (const auto found = candidate(i, i + 1)) heap.push_back(*found);
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(heap));
  constexpr int32_t kRemoved = -1;
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const uint32_t right = symbols[top.left] == top.left_id ? next[top.left] : kNone;
    if (right == kNone || symbols[right] != top.right_id) continue;  // one of the two has been merged since
    symbols[top.left] = top.id;
    symbols[right] = kRemoved;
    next[top.left] = next[right];
    if (next[right] != kNone) previous[next[right]] = top.left;
    if (previous[top.left] != kNone)
      if (const auto found = candidate(previous[top.left], top.left)) queue.push(*found);
    if (next[top.left] != kNone)
      if (const auto found = candidate(top.left, next[top.left])) queue.push(*found);
  }
  std::erase(symbols, kRemoved);
}

}  // namespace fathom
