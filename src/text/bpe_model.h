// Byte pair encoding: a piece of text becomes symbols, of which the pair with the lowest rank (then the leftmost) is merged until
// no pair has a rank. Sennrich et al., arXiv 1508.07909; the order is that of Hugging Face's `tokenizers`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/byte_alphabet.h"

namespace fathom {

struct BpeOptions {
  bool byte_level = true;      // symbols are bytes, written in the vocabulary with the byte alphabet; else characters
  bool ignore_merges = false;  // a piece that is in the vocabulary is one token
  bool byte_fallback = false;  // characters that are not in the vocabulary become <0xXX> tokens
  bool fuse_unk = false;       // neighbouring unknown characters become one unknown token
  std::optional<std::string> unk_token;  // without one, unknown characters give no token
};

class BpeModel {
 public:
  // `tokens`: text and id; `merges`: pairs of texts, in the order of their ranks. Throws UserError for an id given twice or
  // out of range, a merge whose parts or whole are no token, an unknown token that is none.
  BpeModel(const std::vector<std::pair<std::string, int32_t>>& tokens,
           const std::vector<std::pair<std::string, std::string>>& merges, BpeOptions options);
  ~BpeModel();
  BpeModel(BpeModel&&) noexcept;
  BpeModel& operator=(BpeModel&&) noexcept;

  // Appends the ids of a piece (valid UTF-8, not empty). Time: O(n log n) for n symbols.
  void Encode(std::string_view piece, std::vector<int32_t>& ids) const;

  int32_t Find(std::string_view token) const;  // -1: none
  // The token's text as the vocabulary has it; nothing for an id that has none.
  std::optional<std::string_view> Text(int32_t id) const;
  int32_t size() const { return static_cast<int32_t>(ids_.size()); }  // number of tokens
  int32_t end_id() const { return static_cast<int32_t>(texts_.size()); }  // highest id + 1

 private:
  struct MergeSlot {
    uint64_t pair = ~uint64_t{0};
    uint32_t rank = 0;
    int32_t id = -1;
  };
  struct Cache;

  const MergeSlot* FindMerge(int32_t left, int32_t right) const;
  void BuildMerges(const std::vector<std::pair<std::string, std::string>>& merges);
  void EncodeUncached(std::string_view piece, std::vector<int32_t>& ids) const;
  void AppendSymbols(std::string_view piece, std::vector<int32_t>& symbols) const;
  void AppendCharacters(std::string_view piece, std::vector<int32_t>& symbols) const;
  void MergeFew(std::vector<int32_t>& symbols) const;
  void MergeMany(std::vector<int32_t>& symbols) const;
  Cache& CacheOfThread() const;

  BpeOptions options_;
  std::vector<char> arena_;                        // texts one after the other
  std::vector<std::pair<uint32_t, int32_t>> texts_;  // by id: begin in arena_, size (-1: no such token)
  std::unordered_map<std::string_view, int32_t> ids_;
  std::unordered_map<std::string, int32_t> byte_pieces_;  // with ignore_merges: bytes of a token -> id
  std::vector<MergeSlot> merges_;                  // open addressing, a power of two
  std::array<int32_t, 256> byte_ids_{};            // byte -> token of that byte, -1: none
  std::array<int32_t, 256> fallback_ids_{};        // byte -> <0xXX>
  int32_t unk_id_ = -1;
  uint64_t serial_ = 0;                            // names this model in the threads' caches
};

}  // namespace fathom
