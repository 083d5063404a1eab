#include "engine/ebnf.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

constexpr uint32_t kLastCharacter = 0x10FFFF;
constexpr int64_t kMostBytes = 1 << 20;

// JSON of any kind (RFC 8259), with at most one blank, or a line's end and its indent, where blanks may stand: an answer cannot fill up with them.
// Numbers have at most 16 digits, so that every parser can hold them; escaped surrogates stand in pairs.
const std::map<std::string, std::string>& JsonBodies() {
  static const std::map<std::string, std::string> kBodies = {
      {"ws", R"( (" " | "\n" [ \t]{0,40})? )"},
      {"escape", R"( ["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex | [dD] [89abAB] hex hex "\\u" [dD] [c-fC-F] hex hex) )"},
      {"hex", "[0-9a-fA-F]"},
      // One rule that runs to the quote: a token of many characters is found to fit, or not, before any answer. What must follow sorts out those that go beyond.
      {"string", R"( "\"" string_rest )"},
      {"string_rest", "(" + PlainJsonCharacters().Ebnf() + R"(* "\"" | )" + PlainJsonCharacters().Ebnf() + R"x(* "\\" escape string_rest) (= [ \n\t]* [,}\]:]))x"},
      {"integer", R"( "0" | "-"? [1-9] [0-9]{0,15} )"},
      {"number", R"( "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [+-]? [0-9]{1,2})? )"},
      {"boolean", R"( "true" | "false" )"},
      {"null", R"( "null" )"},
      {"value", "object | array | string | number | boolean | null"},
      {"object", R"( "{" ws (member ("," ws member)*)? "}" )"},
      {"member", R"( string ws ":" ws value ws )"},
      {"array", R"( "[" ws (value ws ("," ws value ws)*)? "]" )"},
  };
  return kBodies;
}

const std::map<std::string, std::vector<std::string>>& JsonNeeds() {
  static const std::map<std::string, std::vector<std::string>> kNeeds = {
      {"string", {"string_rest"}}, {"string_rest", {"escape"}}, {"escape", {"hex"}},
      {"value", {"object", "array", "string", "number", "boolean", "null"}},
      {"object", {"ws", "member"}}, {"member", {"string", "ws", "value"}},
      {"array", {"ws", "value"}},
  };
  return kNeeds;
}

// Cuts a range so that each piece has one length in UTF-8 and its bytes run through ranges of their own (Cox, Regular Expression Matching in the Wild, 2010):
// xgrammar 0.1.32 lets overlong forms, or nothing at all, where they do not.
template <typename Piece>
void CutByUtf8(uint32_t first, uint32_t last, const Piece& piece) {
  for (const uint32_t end : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first > end || last <= end) continue;
    CutByUtf8(first, end, piece);
    return CutByUtf8(end + 1, last, piece);
  }
  for (int byte = 1; byte < 4 && last > 0x7F; ++byte) {
    const uint32_t low = (uint32_t{1} << (6 * byte)) - 1;
    if ((first & ~low) == (last & ~low)) continue;
    if ((first & low) != 0) {
      CutByUtf8(first, first | low, piece);
      return CutByUtf8((first | low) + 1, last, piece);
    }
    if ((last & low) != low) {
      CutByUtf8(first, (last & ~low) - 1, piece);
      return CutByUtf8(last & ~low, last, piece);
    }
  }
  piece(first, last);
}

std::string InClass(uint32_t c) { return c > 0xFFFF ? fmt::format("\\U{:08X}", c) : fmt::format("\\u{:04X}", c); }

}  // namespace

CharacterSet::CharacterSet(std::initializer_list<std::pair<uint32_t, uint32_t>> ranges) {
  for (const auto& [first, last] : ranges) Add(first, last);
}

CharacterSet CharacterSet::All() { return {{0, 0xD7FF}, {0xE000, kLastCharacter}}; }

void CharacterSet::Add(uint32_t first, uint32_t last) {
  ranges_.emplace_back(first, last);
  std::sort(ranges_.begin(), ranges_.end());
  std::vector<std::pair<uint32_t, uint32_t>> joined;
  for (const auto& range : ranges_) {
    if (!joined.empty() && range.first <= joined.back().second + 1) joined.back().second = std::max(joined.back().second, range.second);
    else joined.push_back(range);
  }
  ranges_ = std::move(joined);
}

void CharacterSet::Add(const CharacterSet& other) {
  for (const auto& [first, last] : other.ranges_) Add(first, last);
}

CharacterSet CharacterSet::Without(const CharacterSet& other) const {
  CharacterSet left;
  for (auto [first, last] : ranges_) {
    bool is_over = false;
    for (const auto& [begin, end] : other.ranges_) {
      if (end < first || begin > last) continue;
      if (begin > first) left.ranges_.emplace_back(first, begin - 1);
      is_over = end >= last;
      if (is_over) break;
      first = end + 1;
    }
    if (!is_over) left.ranges_.emplace_back(first, last);
  }
  return left;
}

bool CharacterSet::Contains(uint32_t character) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const auto& range) { return character >= range.first && character <= range.second; });
}

std::string CharacterSet::Ebnf() const {
  std::string text = "[";
  for (const auto& [first, last] : ranges_) {
    CutByUtf8(first, last, [&](uint32_t begin, uint32_t end) { text += begin == end ? InClass(begin) : InClass(begin) + "-" + InClass(end); });
  }
  return text + "]";
}

std::string EbnfText(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\', quoted += c;
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) quoted += fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
    else quoted += c;
  }
  return quoted + "\"";
}

const CharacterSet& PlainJsonCharacters() {
  static const CharacterSet kPlain = CharacterSet::All().Without({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
  return kPlain;
}

std::string JsonCharacter(uint32_t character) {
  switch (character) {
    case '"': return EbnfText("\\\"");
    case '\\': return EbnfText("\\\\");
    case '\n': return EbnfText("\\n");
    case '\r': return EbnfText("\\r");
    case '\t': return EbnfText("\\t");
    case '\b': return EbnfText("\\b");
    case '\f': return EbnfText("\\f");
    default: break;
  }
  if (character < 0x20) return EbnfText(fmt::format("\\u{:04x}", character));
  return CharacterSet({{character, character}}).Ebnf();
}

std::string EbnfWriter::NewName(std::string_view hint) {
  std::string name;
  for (const char c : hint.substr(0, 24)) name += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? c : '_';
  if (name.empty()) name = "rule";
  return fmt::format("{}_{}", name, ++hints_[name]);  // JSON's own have no number
}

void EbnfWriter::Define(const std::string& name, const std::string& body) {
  num_bytes_ += static_cast<int64_t>(name.size() + body.size()) + 6;
  FATHOM_USER_CHECK(num_bytes_ <= kMostBytes, "its grammar would be more than {} bytes long", kMostBytes);
  rules_.emplace_back(name, body);
}

std::string EbnfWriter::Rule(std::string_view hint, const std::string& body) {
  std::string name = NewName(hint);
  Define(name, body);
  return name;
}

std::string EbnfWriter::Json(const std::string& name) {
  if (std::exchange(json_rules_[name], true)) return name;
  if (const auto needs = JsonNeeds().find(name); needs != JsonNeeds().end()) {
    for (const std::string& need : needs->second) Json(need);
  }
  Define(name, JsonBodies().at(name));
  return name;
}

std::string EbnfWriter::Text(const std::string& root) const {
  std::string text = "root ::= " + root + "\n";
  for (const auto& [name, body] : rules_) text += name + " ::= " + body + "\n";
  return text;
}

std::string EbnfUntil(std::string_view stop) {
  return fmt::format("TagDispatch(stop_eos=false, stop_str=({}), loop_after_dispatch=false)", EbnfText(stop));
}

}  // namespace fathom
