#include "text/added_tokens.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/utf8.h"
#include "text/unicode_properties.h"

namespace fathom {
namespace {

size_t BytePair(unsigned char first, unsigned char second) { return static_cast<size_t>(first) << 8 | second; }

bool IsWordBefore(std::string_view text, size_t at) {
  if (at == 0) return false;
  const char* p = PreviousCharacter(text.data() + at);
  return IsWordOfAddedTokens(NextCodePoint(p));
}

bool IsWordAt(std::string_view text, size_t at) {
  if (at == text.size()) return false;
  const char* p = text.data() + at;
  return IsWordOfAddedTokens(NextCodePoint(p));
}

size_t SpacesBegin(std::string_view text, size_t at) {
  const uint8_t* classes = CodePointClasses();
  while (at > 0) {
    const char* previous = PreviousCharacter(text.data() + at);
    const char* p = previous;
    if ((classes[NextCodePoint(p)] & kSpace) == 0) break;
    at = static_cast<size_t>(previous - text.data());
  }
  return at;
}

size_t SpacesEnd(std::string_view text, size_t at) {
  const uint8_t* classes = CodePointClasses();
  while (at < text.size()) {
    const char* p = text.data() + at;
    if ((classes[NextCodePoint(p)] & kSpace) == 0) break;
    at = static_cast<size_t>(p - text.data());
  }
  return at;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  if (tokens_.empty()) return;
  std::vector<uint32_t> order(tokens_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return tokens_[a].content < tokens_[b].content; });
  Build(std::move(order));
  may_begin_.resize(65536);
  for (const AddedToken& token : tokens_) {
    const auto first = static_cast<unsigned char>(token.content[0]);
    if (token.content.size() >= 2)
      may_begin_[BytePair(first, static_cast<unsigned char>(token.content[1]))] = true;
    else
      std::fill_n(may_begin_.begin() + static_cast<ptrdiff_t>(BytePair(first, 0)), 256, true);
  }
}

// The sorted texts are the trie: a node is a range of them that share a prefix.
void AddedTokenMatcher::Build(std::vector<uint32_t> order) {
  struct Range {
    uint32_t node;
    size_t begin, end, depth;
  };
  nodes_.emplace_back();
  std::vector<Range> open = {{0, 0, order.size(), 0}};
  while (!open.empty()) {
    const Range range = open.back();
    open.pop_back();
    size_t begin = range.begin;
    while (begin < range.end && tokens_[order[begin]].content.size() == range.depth) {
      if (nodes_[range.node].token < 0) nodes_[range.node].token = static_cast<int32_t>(order[begin]);
      ++begin;
    }
    nodes_[range.node].first = static_cast<uint32_t>(edges_.size());
    while (begin < range.end) {
      const char byte = tokens_[order[begin]].content[range.depth];
      size_t end = begin;
      while (end < range.end && tokens_[order[end]].content[range.depth] == byte) ++end;
      const auto node = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      edges_.push_back({static_cast<uint8_t>(byte), node});
      ++nodes_[range.node].count;
      open.push_back({node, begin, end, range.depth + 1});
      begin = end;
    }
  }
}

int32_t AddedTokenMatcher::LongestAt(std::string_view text, size_t at) const {
  int32_t longest = -1;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    const Edge* begin = edges_.data() + nodes_[node].first;
    const Edge* end = begin + nodes_[node].count;
    const Edge* edge = std::lower_bound(begin, end, byte, [](const Edge& e, uint8_t value) { return e.byte < value; });
    if (edge == end || edge->byte != byte) break;
    node = edge->node;
    if (nodes_[node].token >= 0) longest = nodes_[node].token;
  }
  return longest;
}

void AddedTokenMatcher::Split(std::string_view text, bool match_special, std::vector<Part>& parts) const {
  size_t done = 0;
  for (size_t at = 0; !tokens_.empty() && at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    const auto second = at + 1 < text.size() ? static_cast<unsigned char>(text[at + 1]) : 0;
    const int32_t found = may_begin_[BytePair(first, second)] ? LongestAt(text, at) : -1;
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found)];
    size_t begin = at, end = at + token.content.size();
    at = end;  // a match that is passed over still hides those inside of it
    if (token.special && !match_special) continue;
    if (token.single_word && (IsWordBefore(text, begin) || IsWordAt(text, end))) continue;
    if (token.lstrip) begin = std::max(SpacesBegin(text, begin), done);
    if (token.rstrip) end = SpacesEnd(text, end);
    if (done < begin) parts.push_back({done, begin, -1});
    parts.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
}

}  // namespace fathom
