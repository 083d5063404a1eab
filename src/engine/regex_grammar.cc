#include "engine/regex_grammar.h"

#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "engine/ebnf.h"

namespace fathom {
namespace {

constexpr int64_t kMostRepeats = 10000;
constexpr int kMostDepth = 100;
constexpr size_t kMostBytes = 64 << 10;

const CharacterSet kDigits = {{'0', '9'}};
const CharacterSet kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharacterSet kSpace = {{'\t', '\r'}, {' ', ' '}};
const CharacterSet kAscii = {{0, 0x7F}};
const CharacterSet kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

std::vector<uint32_t> Characters(std::string_view text) {
  std::vector<uint32_t> characters;
  for (const char* p = text.data(); p < text.data() + text.size();) characters.push_back(NextCodePoint(p));
  return characters;
}

class Translator {
 public:
  Translator(std::string_view regex, RegexPlace place, const std::string& what) : place_(place), what_(what) {
    if (regex.size() > kMostBytes) Fail(fmt::format("is longer than {} bytes", kMostBytes));
    if (!IsValidUtf8(regex)) Fail("is not UTF-8");
    text_ = Characters(regex);
  }

  std::string Whole() {
    std::string body = Alternatives(0);
    if (at_ < text_.size()) Fail("has a ) too many");
    return body;
  }

 private:
  [[noreturn]] void Fail(const std::string& cause) const { ThrowUserError("{}: the regular expression {}", what_, cause); }
  bool More() const { return at_ < text_.size(); }
  uint32_t Here(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0; }
  bool Take(uint32_t c) {
    if (!More() || Here() != c) return false;
    ++at_;
    return true;
  }

  std::string Alternatives(int depth) {
    if (depth > kMostDepth) Fail(fmt::format("nests more than {} groups", kMostDepth));
    std::string all = Sequence(depth);
    while (Take('|')) all += " | " + Sequence(depth);
    return all;
  }

  std::string Sequence(int depth) {
    std::string all;
    if (depth == 0) {
      while (Take('^')) {
      }
    }
    while (More() && Here() != '|' && Here() != ')') {
      if (Here() == '$' && depth == 0) {
        ++at_;
        if (More() && Here() != '|' && Here() != '$') Fail("has a $ before its end");
        continue;
      }
      const std::string atom = Atom(depth);
      all += (all.empty() ? "" : " ") + atom + Repeats();
    }
    return all.empty() ? "\"\"" : all;
  }

  std::string Atom(int depth) {
    const uint32_t c = text_[at_++];
    switch (c) {
      case '(': return Group(depth);
      case '[': return Set(Class());
      case '.': return Set(CharacterSet::All().Without(kLineEnds));
      case '\\': {
        if (const auto set = ClassEscape(false)) return Set(*set);
        return Literal(Escape());
      }
      case '^': Fail("has a ^ after its begin");
      case '$': Fail("has a $ inside of a group");
      case '*':
      case '+':
      case '?': Fail("repeats nothing");
      default: return Literal(c);
    }
  }

  std::string Group(int depth) {
    if (Take('?')) {
      if (Take('P') && Here() != '<') Fail("has a group that is not understood here");
      if (Take('<')) {
        if (Here() == '=' || Here() == '!') Fail("looks behind, which is not offered");
        while (More() && Here() != '>') ++at_;
        if (!Take('>')) Fail("has a group whose name does not end");
      } else if (!Take(':')) {
        Fail(Here() == '=' || Here() == '!' ? "looks ahead, which is not offered" : "has flags or a group that is not understood here");
      }
    }
    std::string body = Alternatives(depth + 1);
    if (!Take(')')) Fail("has a ( without its )");
    return "(" + body + ")";
  }

  std::string Repeats() {
    std::string suffix;
    if (Take('*')) suffix = "*";
    else if (Take('+')) suffix = "+";
    else if (Take('?')) suffix = "?";
    else if (Here() == '{' && Here(1) >= '0' && Here(1) <= '9') suffix = Counts();
    else return "";
    if (!Take('?') && Here() == '+' && More()) Fail("has a possessive repetition, which is not offered");
    if (More() && (Here() == '*' || Here() == '?')) Fail("repeats a repetition");
    return suffix;
  }

  std::string Counts() {
    ++at_;
    const int64_t least = Number();
    if (Take('}')) return fmt::format("{{{}}}", least);
    if (!Take(',')) Fail("has a { without its }");
    if (Take('}')) return fmt::format("{{{},}}", least);
    const int64_t most = Number();
    if (!Take('}')) Fail("has a { without its }");
    if (most < least) Fail(fmt::format("repeats {} to {} times", least, most));
    return fmt::format("{{{},{}}}", least, most);
  }

  int64_t Number() {
    if (Here() < '0' || Here() > '9') Fail("has a { without a number");
    int64_t number = 0;
    while (More() && Here() >= '0' && Here() <= '9') {
      number = number * 10 + (text_[at_++] - '0');
      if (number > kMostRepeats) Fail(fmt::format("repeats more than {} times", kMostRepeats));
    }
    return number;
  }

  CharacterSet Class() {
    const bool is_negated = Take('^');
    CharacterSet set;
    bool is_first = true, has_kinds = false;
    while (is_first || Here() != ']') {
      if (!More()) Fail("has a [ without its ]");
      is_first = false;
      const auto [first, kind] = ClassMember(is_negated);
      if (kind) {
        set.Add(*kind);
        has_kinds = true;
        continue;
      }
      if (Here() != '-' || Here(1) == ']' || at_ + 1 >= text_.size()) {
        set.Add(first, first);
        continue;
      }
      ++at_;
      const auto [last, last_kind] = ClassMember(is_negated);
      if (last_kind || last < first) Fail("has a range in [ ] that does not rise");
      set.Add(first, last);
    }
    ++at_;
    if (!is_negated) return set;
    // What is a digit or a letter beyond ASCII, readers of expressions do not agree on.
    return (has_kinds ? kAscii : CharacterSet::All()).Without(set);
  }

  std::pair<uint32_t, std::optional<CharacterSet>> ClassMember(bool is_negated) {
    const uint32_t c = text_[at_++];
    if (c != '\\') return {c, std::nullopt};
    if (auto kind = ClassEscape(is_negated)) return {0, std::move(kind)};
    if (Take('b')) return {'\b', std::nullopt};
    return {Escape(), std::nullopt};
  }

  // Behind a backslash: a kind of characters. Complements are of ASCII; under a negation they take in everything beyond it.
  std::optional<CharacterSet> ClassEscape(bool is_negated) {
    const uint32_t c = Here();
    const CharacterSet* kind = c == 'd' || c == 'D' ? &kDigits : c == 'w' || c == 'W' ? &kWord : c == 's' || c == 'S' ? &kSpace : nullptr;
    if (kind == nullptr || !More()) return std::nullopt;
    ++at_;
    if (c >= 'a') return *kind;
    return (is_negated ? CharacterSet::All() : kAscii).Without(*kind);
  }

  uint32_t Escape() {
    if (!More()) Fail("ends with a backslash");
    const uint32_t c = text_[at_++];
    switch (c) {
      case 'n': return '\n';
      case 't': return '\t';
      case 'r': return '\r';
      case 'f': return '\f';
      case 'v': return '\v';
      case '0': return 0;
      case 'x': return Hex(2);
      case 'u': {
        if (!Take('{')) return Hex(4);
        uint32_t value = 0;
        while (More() && Here() != '}') {
          value = value * 16 + Hex(1);
          if (value > 0x10FFFF) Fail("names a character beyond Unicode");
        }
        if (!Take('}')) Fail("has a \\u{ without its }");
        return value;
      }
      default: break;
    }
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      Fail(fmt::format("has a \\{}, which is not offered", static_cast<char>(c)));
    }
    return c;
  }

  uint32_t Hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const uint32_t c = Here();
      const bool is_digit = c >= '0' && c <= '9', is_low = c >= 'a' && c <= 'f', is_high = c >= 'A' && c <= 'F';
      if (!More() || !(is_digit || is_low || is_high)) Fail("has a character's number that is not hexadecimal");
      value = value * 16 + (is_digit ? c - '0' : (is_low ? c - 'a' : c - 'A') + 10);
      ++at_;
    }
    return value;
  }

  std::string Literal(uint32_t c) { return Set({{c, c}}); }

  std::string Set(const CharacterSet& given) {
    const CharacterSet set = given.Without({{0xD800, 0xDFFF}});
    if (place_ == RegexPlace::kText) {
      const CharacterSet without_zero = set.Without({{0, 0}});  // no token writes one
      if (without_zero.empty()) Fail("has a [ ] that no character is in");
      return without_zero.Ebnf();
    }
    const CharacterSet plain = set.Without(CharacterSet::All().Without(PlainJsonCharacters()));
    if (!plain.empty()) return plain.Ebnf();  // what JSON escapes is left out where there is a choice: a class alone is quick to follow
    std::vector<std::string> forms;
    for (uint32_t c = 0; c <= '\\'; ++c) {
      if (set.Contains(c) && !PlainJsonCharacters().Contains(c)) forms.push_back(JsonCharacter(c));
    }
    if (forms.empty()) Fail("has a [ ] that no character is in");
    return forms.size() == 1 ? forms[0] : fmt::format("({})", fmt::join(forms, " | "));
  }

  std::vector<uint32_t> text_;
  RegexPlace place_;
  const std::string& what_;
  size_t at_ = 0;
};

}  // namespace

std::string RegexToEbnf(std::string_view regex, RegexPlace place, const std::string& what) { return Translator(regex, place, what).Whole(); }

}  // namespace fathom
