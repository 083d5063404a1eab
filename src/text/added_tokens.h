// Added tokens: texts that are one token wherever they stand, found before the text is split into pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;
  bool single_word = false;  // not inside of a word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for in the normalized text, else in the text as it is
};

// Finds tokens by their texts: leftmost first, of those that begin at one place the longest.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  // Empty texts are left out; of equal texts the first counts.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  struct Part {
    size_t begin = 0, end = 0;
    int32_t id = -1;  // -1: text between tokens
  };
  bool empty() const { return tokens_.empty(); }
  // Cuts valid UTF-8 into tokens and text. Special ones are passed over where `match_special` is false.
  void Split(std::string_view text, bool match_special, std::vector<Part>& parts) const;

 private:
  struct Node {
    int32_t token = -1;   // index into tokens_
    uint32_t first = 0;   // edges_[first .. first + count), sorted by byte
    uint32_t count = 0;
  };
  struct Edge {
    uint8_t byte;
    uint32_t node;
  };

  void Build(std::vector<uint32_t> order);
  // The longest token at `at`, or -1.
  int32_t LongestAt(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::vector<bool> may_begin_;  // [65536] by the first two bytes; a token of one byte sets all of its row
};

}  // namespace fathom
