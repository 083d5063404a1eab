#include "text/bpe_trainer.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <queue>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_alphabet.h"
#include "text/gguf_family.h"
#include "text/pipeline_json.h"

namespace fathom {
namespace {

using Symbol = int32_t;
using Pair = uint64_t;  // left id, right id: ordered as the pairs of ids are

Pair PairOf(Symbol left, Symbol right) { return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right); }
Symbol LeftOf(Pair pair) { return static_cast<Symbol>(pair >> 32); }
Symbol RightOf(Pair pair) { return static_cast<Symbol>(pair & 0xFFFFFFFF); }

// Counts of pairs, and the words where new ones have come up since they were last queued. Open addressing.
class PairTable {
 public:
  struct Entry {
    Pair pair = kEmpty;
    int64_t count = 0;
    int32_t waiting = -1;  // index of its list of words
  };

  PairTable() : slots_(1 << 16) {}

  Entry& At(Pair pair) {
    if (2 * size_ >= slots_.size()) Grow();
    size_t slot = Mix(pair) & (slots_.size() - 1);
    while (slots_[slot].pair != pair) {
      if (slots_[slot].pair == kEmpty) {
        slots_[slot].pair = pair;
        ++size_;
        break;
      }
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slots_[slot];
  }

 private:
  static constexpr Pair kEmpty = ~Pair{0};
  static size_t Mix(Pair pair) {
    pair *= 0x9E3779B97F4A7C15ull;
    return static_cast<size_t>(pair ^ pair >> 32);
  }
  void Grow() {
    std::vector<Entry> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Entry& entry : old) {
      if (entry.pair == kEmpty) continue;
      size_t slot = Mix(entry.pair) & (slots_.size() - 1);
      while (slots_[slot].pair != kEmpty) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = entry;
    }
  }

  std::vector<Entry> slots_;
  size_t size_ = 0;
};

struct Word {
  uint32_t begin = 0, size = 0;  // in the arena of symbols
};

class Trainer {
 public:
  Trainer(const WordCounts& words, const BpeTrainerOptions& options) : options_(options) {
    for (const std::string& text : options.special_tokens) IdOf(text);
    std::vector<std::pair<uint32_t, uint8_t>> alphabet;
    for (int byte = 0; byte < 256; ++byte) alphabet.emplace_back(ByteToCharacter(static_cast<uint8_t>(byte)), static_cast<uint8_t>(byte));
    std::sort(alphabet.begin(), alphabet.end());
    Symbol byte_ids[256];
    for (const auto& [character, byte] : alphabet) {
      std::string text;
      AppendUtf8(text, character);
      byte_ids[byte] = IdOf(text);
    }
    FATHOM_USER_CHECK(options.vocab_size >= std::ssize(tokens_), "the vocabulary of {} has no room for {} special tokens and 256 bytes", options.vocab_size,
                      options.special_tokens.size());
    for (const auto& [word, count] : words.Sorted()) {
      FATHOM_USER_CHECK(symbols_.size() + word.size() < std::numeric_limits<uint32_t>::max(), "the texts have more than 4 GB of different words");
      words_.push_back({static_cast<uint32_t>(symbols_.size()), static_cast<uint32_t>(word.size())});
      counts_.push_back(count);
      for (const char c : word) symbols_.push_back(byte_ids[static_cast<unsigned char>(c)]);
    }
  }

  TrainedBpe Run() {
    CountPairs();
    while (std::ssize(tokens_) < options_.vocab_size && !queue_.empty()) {
      Queued top = queue_.top();
      queue_.pop();
      if (const int64_t count = pairs_.At(top.pair).count; count != top.count) {  // it has changed since it was queued
        top.count = count;
        queue_.push(top);
        continue;
      }
      if (top.count < 1 || top.count < options_.min_frequency) break;
      const Symbol merged = IdOf(tokens_[static_cast<size_t>(LeftOf(top.pair))] + tokens_[static_cast<size_t>(RightOf(top.pair))]);
      merges_.push_back(top.pair);
      const std::vector<uint32_t> places = std::move(lists_[top.list]);
      lists_[top.list] = {};
      free_lists_.push_back(top.list);
      for (const uint32_t word : places) MergeIn(word, top.pair, merged);
      QueueNew();
      if (options_.progress && tokens_.size() % 256 == 0) options_.progress(std::ssize(tokens_));
    }
    return Result();
  }

 private:
  struct Queued {
    int64_t count;
    Pair pair;
    uint32_t list;  // of the words where it stands
    bool operator<(const Queued& other) const { return count != other.count ? count < other.count : pair > other.pair; }
  };

  Symbol IdOf(const std::string& text) {
    const auto [found, is_new] = ids_.emplace(text, static_cast<Symbol>(tokens_.size()));
    if (is_new) tokens_.push_back(text);
    return found->second;
  }

  void CountPairs() {
    for (uint32_t w = 0; w < words_.size(); ++w)
      for (uint32_t i = 0; i + 1 < words_[w].size; ++i) Change(PairOf(symbols_[words_[w].begin + i], symbols_[words_[w].begin + i + 1]), w, +1);
    QueueNew();
  }

  // `change` more of the pair in the word. Words come one after the other, so that a word can stand only at a list's end already.
  void Change(Pair pair, uint32_t word, int change) {
    PairTable::Entry& entry = pairs_.At(pair);
    entry.count += change * counts_[word];
    if (change < 0) return;
    if (entry.waiting < 0) {
      if (free_lists_.empty()) {
        free_lists_.push_back(static_cast<uint32_t>(lists_.size()));
        lists_.emplace_back();
      }
      entry.waiting = static_cast<int32_t>(free_lists_.back());
      free_lists_.pop_back();
      touched_.push_back(pair);
    }
    std::vector<uint32_t>& list = lists_[static_cast<size_t>(entry.waiting)];
    if (list.empty() || list.back() != word) list.push_back(word);
  }

  void QueueNew() {
    for (const Pair pair : touched_) {
      PairTable::Entry& entry = pairs_.At(pair);
      const auto list = static_cast<uint32_t>(entry.waiting);
      entry.waiting = -1;
      if (entry.count > 0) {
        lists_[list].shrink_to_fit();
        queue_.push({entry.count, pair, list});
      } else {
        lists_[list] = {};
        free_lists_.push_back(list);
      }
    }
    touched_.clear();
  }

  // The pair becomes `merged` from left to right. The count of the pair itself stays: it is not asked for again, but where the same token comes up another way.
  void MergeIn(uint32_t w, Pair pair, Symbol merged) {
    Word& word = words_[w];
    Symbol* const symbols = symbols_.data() + word.begin;
    const Symbol left = LeftOf(pair), right = RightOf(pair);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < word.size; ++i) {
      if (symbols[i] != left || i + 1 == word.size || symbols[i + 1] != right) {
        symbols[kept++] = symbols[i];
        continue;
      }
      if (kept > 0) {
        Change(PairOf(symbols[kept - 1], left), w, -1);
        Change(PairOf(symbols[kept - 1], merged), w, +1);
      }
      ++i;
      if (i + 1 < word.size) {
        Change(PairOf(right, symbols[i + 1]), w, -1);
        Change(PairOf(merged, symbols[i + 1]), w, +1);
      }
      symbols[kept++] = merged;
    }
    word.size = kept;
  }

  // A pair that was merged twice has the rank of its last time.
  TrainedBpe Result() {
    TrainedBpe out{.tokens = std::move(tokens_), .merges = {}};
    std::unordered_map<Pair, size_t> last;
    for (size_t rank = 0; rank < merges_.size(); ++rank) last[merges_[rank]] = rank;
    for (size_t rank = 0; rank < merges_.size(); ++rank)
      if (last[merges_[rank]] == rank) out.merges.emplace_back(LeftOf(merges_[rank]), RightOf(merges_[rank]));
    return out;
  }

  const BpeTrainerOptions& options_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, Symbol> ids_;
  std::vector<Symbol> symbols_;
  std::vector<Word> words_;
  std::vector<int64_t> counts_;  // of each word
  PairTable pairs_;
  std::vector<std::vector<uint32_t>> lists_;  // of words
  std::vector<uint32_t> free_lists_;
  std::vector<Pair> touched_, merges_;
  std::priority_queue<Queued> queue_;
};

}  // namespace

const std::vector<std::string>& DefaultSpecialTokens() {
  static const std::vector<std::string> kTokens = {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>",  "<｜fim▁hole｜>",
                                                   "<｜fim▁begin｜>",         "<｜fim▁end｜>",         "<｜User｜>", "<｜Assistant｜>"};
  return kTokens;
}

void WordCounts::Add(std::string_view word, int64_t count) {
  const auto found = counts_.find(word);
  if (found != counts_.end()) found->second += count;
  else counts_.emplace(std::string(word), count);
}

void WordCounts::Merge(const WordCounts& other) {
  for (const auto& [word, count] : other.counts_) counts_[word] += count;
}

std::vector<std::pair<std::string_view, int64_t>> WordCounts::Sorted() const {
  std::vector<std::pair<std::string_view, int64_t>> sorted(counts_.begin(), counts_.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

WordSplitter::WordSplitter(const std::string& family) {
  const GgufFamily known = FamilyOfGguf(family);
  normalizers_ = ReadNormalizers(Json::parse(known.normalizer.dump()));
  pre_tokenizer_ = PreTokenizer(ReadPreTokenizer(Json::parse(known.pre_tokenizer.dump())).steps);
}

void WordSplitter::Count(std::string_view text, WordCounts& counts) const {
  const auto add = [&](std::string_view piece) { counts.Add(piece, 1); };
  if (normalizers_.empty()) return pre_tokenizer_.Run(text, /*is_first=*/true, add);
  std::string normalized(text);
  for (const auto& normalizer : normalizers_) normalized = normalizer->Normalize(normalized);
  pre_tokenizer_.Run(normalized, /*is_first=*/true, add);
}

TrainedBpe TrainBpe(const WordCounts& words, const BpeTrainerOptions& options) { return Trainer(words, options).Run(); }

GgufVocabulary VocabularyOf(const TrainedBpe& trained, const std::string& family, const std::vector<std::string>& special_tokens, const std::string& bos,
                            const std::string& eos, const std::string& pad) {
  GgufVocabulary vocabulary;
  vocabulary.pre = family;
  vocabulary.tokens = trained.tokens;
  vocabulary.types.assign(trained.tokens.size(), GgufToken::kNormal);
  const auto id_of = [&](const std::string& text) -> std::optional<int64_t> {
    const auto found = std::find(special_tokens.begin(), special_tokens.end(), text);
    if (text.empty() || found == special_tokens.end()) return std::nullopt;
    return found - special_tokens.begin();
  };
  for (size_t id = 0; id < special_tokens.size(); ++id) vocabulary.types[id] = GgufToken::kControl;
  for (const auto& [left, right] : trained.merges) vocabulary.merges.push_back(trained.tokens[static_cast<size_t>(left)] + " " + trained.tokens[static_cast<size_t>(right)]);
  vocabulary.bos_id = id_of(bos);
  vocabulary.eos_id = id_of(eos);
  vocabulary.pad_id = id_of(pad);
  return vocabulary;
}

}  // namespace fathom
