#include "text/regex_translation.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {
namespace {

constexpr uint32_t kMaxRepeat = 1000;

// One item of a pattern that stands for a set of characters.
struct SetAtom {
  CodePointSet set;
  std::optional<uint32_t> literal;  // the one character, where it is one
};

class Scanner {
 public:
  explicit Scanner(std::string_view regex) : regex_(regex) {
    FATHOM_USER_CHECK(IsValidUtf8(regex), "regex is not valid UTF-8");
  }

  bool done() const { return at_ == regex_.size(); }
  std::string_view rest() const { return regex_.substr(at_); }
  size_t at() const { return at_; }
  void Rewind(size_t at) { at_ = at; }
  bool TryTake(std::string_view text) {
    if (!rest().starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  uint32_t TakeCharacter() {
    if (done()) Fail("it ends early");
    const char* p = regex_.data() + at_;
    const uint32_t c = NextCodePoint(p);
    at_ = static_cast<size_t>(p - regex_.data());
    return c;
  }
  [[noreturn]] void Fail(const std::string& cause) const {
    ThrowUserError("regex '{}': {} (at byte {})", regex_, cause, at_);
  }

  // A class, an escape or a literal character; nothing (and no move) where another construct begins.
  std::optional<SetAtom> TakeSetAtom() {
    if (done() || std::string_view("|()*+?^$").find(regex_[at_]) != std::string_view::npos) return std::nullopt;
    if (regex_[at_] == '{' && PeekRepeat().has_value()) return std::nullopt;
    if (TryTake("[")) return SetAtom{TakeClass(), std::nullopt};
    if (TryTake(".")) {
      CodePointSet newline;
      newline.Add('\n', '\n');
      return SetAtom{newline.Complement(), std::nullopt};
    }
    if (regex_[at_] == '\\') {
      if (rest().size() >= 2 && std::string_view("AzZ").find(rest()[1]) != std::string_view::npos) return std::nullopt;
      return TakeEscape();
    }
    return Literal(TakeCharacter());
  }

  struct Repeat {
    uint32_t min = 0;
    std::optional<uint32_t> max;
    size_t num_bytes = 0;
  };

  // {n}, {n,}, {,m}, {n,m} at the current place; other braces are literal text.
  std::optional<Repeat> PeekRepeat() const {
    const std::string_view text = rest();
    const size_t close = text.find('}');
    if (!text.starts_with("{") || close == std::string_view::npos) return std::nullopt;
    const std::string_view inside = text.substr(1, close - 1);
    const size_t comma = inside.find(',');
    const std::string_view low = inside.substr(0, comma);
    const auto number = [](std::string_view digits, uint32_t* value) {
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
      return error == std::errc() && end == digits.data() + digits.size();
    };
    Repeat repeat{.min = 0, .max = std::nullopt, .num_bytes = close + 1};
    if (!low.empty() && !number(low, &repeat.min)) return std::nullopt;
    if (comma == std::string_view::npos) {
      if (low.empty()) return std::nullopt;
      repeat.max = repeat.min;
    } else if (const std::string_view high = inside.substr(comma + 1); !high.empty()) {
      uint32_t max = 0;
      if (!number(high, &max)) return std::nullopt;
      repeat.max = max;
    } else if (low.empty()) {
      return std::nullopt;
    }
    return repeat;
  }

 private:
  static SetAtom Literal(uint32_t c) {
    SetAtom atom{{}, c};
    atom.set.Add(c, c);
    return atom;
  }

  SetAtom TakeEscape() {
    TakeCharacter();  // the backslash
    const uint32_t c = TakeCharacter();
    switch (c) {
      case 'r': return Literal('\r');
      case 'n': return Literal('\n');
      case 't': return Literal('\t');
      case 'f': return Literal('\f');
      case 'v': return Literal('\v');
      case 'a': return Literal(7);
      case 'e': return Literal(27);
      case 's': return {CodePointSet::Space(), std::nullopt};
      case 'S': return {CodePointSet::Space().Complement(), std::nullopt};
      case 'd': return {*CodePointSet::Property("Nd"), std::nullopt};
      case 'D': return {CodePointSet::Property("Nd")->Complement(), std::nullopt};
      case 'w': return {CodePointSet::Word(), std::nullopt};
      case 'W': return {CodePointSet::Word().Complement(), std::nullopt};
      case 'x': return Literal(TryTake("{") ? TakeHexUntilBrace() : TakeHexByte());
      case 'u': return Literal(TakeHex(4));
      case 'p': return {TakeProperty(false), std::nullopt};
      case 'P': return {TakeProperty(true), std::nullopt};
      default: break;
    }
    const bool is_plain = c >= 0x80 || !(std::isalnum(static_cast<int>(c)) != 0);
    if (!is_plain) Fail(fmt::format("the escape '\\{}' is not supported", static_cast<char>(c)));
    return Literal(c);
  }

  uint32_t TakeHex(size_t num_digits) {
    uint32_t value = 0;
    const std::string_view digits = rest().substr(0, num_digits);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || end != digits.data() + num_digits) Fail("a hexadecimal escape is malformed");
    at_ += num_digits;
    return CheckCodePoint(value);
  }

  uint32_t TakeHexByte() {
    const uint32_t value = TakeHex(2);
    if (value >= 0x80) Fail("the escape of a single byte that is no ASCII is not supported");
    return value;
  }

  uint32_t TakeHexUntilBrace() {
    const size_t close = rest().find('}');
    if (close == std::string_view::npos || close == 0 || close > 6) Fail("a hexadecimal escape is malformed");
    const uint32_t value = TakeHex(close);
    ++at_;
    return value;
  }

  uint32_t CheckCodePoint(uint32_t value) const {
    if (value >= kNumCodePoints || (value >= 0xD800 && value < 0xE000)) Fail("a hexadecimal escape is no character");
    return value;
  }

  CodePointSet TakeProperty(bool negated) {
    if (!TryTake("{")) Fail("a property must stand in braces");
    if (TryTake("^")) negated = !negated;
    const size_t close = rest().find('}');
    if (close == std::string_view::npos) Fail("a property is not closed");
    const std::string_view name = rest().substr(0, close);
    const auto set = CodePointSet::Property(name);
    if (!set) Fail(fmt::format("the property '{}' is not supported", name));
    at_ += close + 1;
    return negated ? set->Complement() : *set;
  }

  SetAtom TakeClassItem() {
    if (rest().starts_with("[")) Fail("a class inside of a class is not supported");
    if (rest().starts_with("&&")) Fail("'&&' in a class is not supported");
    if (rest().starts_with("\\b")) Fail("'\\b' in a class is not supported");
    if (rest().starts_with("\\")) return TakeEscape();
    return Literal(TakeCharacter());
  }

  CodePointSet TakeClass() {
    const bool negated = TryTake("^");
    CodePointSet set;
    bool empty = true;
    while (!TryTake("]")) {
      SetAtom first = TakeClassItem();
      empty = false;
      const bool is_range = rest().starts_with("-") && !rest().starts_with("-]");
      if (!is_range) {
        set.Add(first.set);
        continue;
      }
      if (!first.literal) Fail("a range in a class begins with a set");
      TryTake("-");
      const SetAtom last = TakeClassItem();
      if (!last.literal || *last.literal < *first.literal) Fail("a range in a class is not in order");
      set.Add(*first.literal, *last.literal);
    }
    if (empty) Fail("a class is empty");
    return negated ? set.Complement() : set;
  }

  std::string_view regex_;
  size_t at_ = 0;
};

std::string WriteSet(const CodePointSet& set) {
  if (set.ranges().empty()) return "(?!)";
  std::string out = "[";
  for (const auto& [first, last] : set.ranges()) {
    // PCRE2 in UTF mode knows no surrogates.
    if (first >= 0xD800 && last < 0xE000) continue;
    out += fmt::format("\\x{{{:x}}}", first >= 0xD800 && first < 0xE000 ? 0xE000 : first);
    if (last != first) out += fmt::format("-\\x{{{:x}}}", last >= 0xD800 && last < 0xE000 ? 0xD7FF : last);
  }
  return out + "]";
}

class Translator {
 public:
  explicit Translator(std::string_view regex) : in_(regex) {}

  std::string Run() {
    caseless_.push_back(in_.TryTake("(?i)"));
    out_ = caseless_.back() ? "(?i)" : "";
    while (!in_.done()) Step();
    if (caseless_.size() != 1) in_.Fail("a group is not closed");
    return out_;
  }

 private:
  void Step() {
    if (const auto atom = in_.TakeSetAtom()) {
      WriteAtom(*atom);
      TakeQuantifier();
    } else if (in_.TryTake("|")) {
      out_ += "|";
    } else if (in_.TryTake("(")) {
      OpenGroup();
    } else if (in_.TryTake(")")) {
      if (caseless_.size() == 1) in_.Fail("')' without a group");
      caseless_.pop_back();
      out_ += ")";
      TakeQuantifier();
    } else if (in_.TryTake("^")) {
      out_ += "^";
    } else if (in_.TryTake("$")) {
      out_ += "$";
    } else if (in_.TryTake("\\A")) {
      out_ += "\\A";
    } else if (in_.TryTake("\\z")) {
      out_ += "\\z";
    } else if (in_.TryTake("\\Z")) {
      out_ += "\\Z";
    } else {
      in_.Fail("a quantifier without anything before it");
    }
  }

  void WriteAtom(const SetAtom& atom) {
    if (!atom.literal) {
      if (caseless_.back()) in_.Fail("a class under (?i) is not supported");
      out_ += WriteSet(atom.set);
      return;
    }
    if (caseless_.back() && *atom.literal >= 0x80) in_.Fail("a character that is not ASCII under (?i) is not supported");
    out_ += fmt::format("\\x{{{:x}}}", *atom.literal);
  }

  void OpenGroup() {
    bool caseless = caseless_.back();
    std::string open = "(?:";
    if (in_.TryTake("?")) {
      if (in_.TryTake("i:")) {
        caseless = true;
        open = "(?i:";
      } else if (in_.TryTake("-i:")) {
        caseless = false;
        open = "(?-i:";
      } else {
        bool known = false;
        for (const char* kind : {":", "=", "!", "<=", "<!", ">"})
          if (in_.TryTake(kind)) {
            open = std::string("(?") + kind;
            known = true;
            break;
          }
        if (!known) in_.Fail("this kind of group is not supported");
      }
    }
    out_ += open;
    caseless_.push_back(caseless);
  }

  void TakeQuantifier() {
    bool is_interval = false;
    if (in_.TryTake("*")) {
      out_ += "*";
    } else if (in_.TryTake("+")) {
      out_ += "+";
    } else if (in_.TryTake("?")) {
      out_ += "?";
    } else if (const auto repeat = in_.PeekRepeat()) {
      if (repeat->min > kMaxRepeat || repeat->max.value_or(0) > kMaxRepeat || repeat->max.value_or(kMaxRepeat) < repeat->min)
        in_.Fail(fmt::format("a repeat count must be in order and at most {}", kMaxRepeat));
      in_.Rewind(in_.at() + repeat->num_bytes);
      out_ += repeat->max ? fmt::format("{{{},{}}}", repeat->min, *repeat->max) : fmt::format("{{{},}}", repeat->min);
      is_interval = true;
      if (in_.rest().starts_with("?") && repeat->max == repeat->min) in_.Fail("'{n}?' is not supported");
    } else {
      return;
    }
    if (in_.TryTake("?"))
      out_ += "?";
    else if (!is_interval && in_.TryTake("+"))
      out_ += "+";
    const std::string_view rest = in_.rest();
    if (rest.starts_with("*") || rest.starts_with("+") || rest.starts_with("?") || in_.PeekRepeat())
      in_.Fail("a quantifier of a quantifier is not supported");
  }

  Scanner in_;
  std::string out_;
  std::vector<bool> caseless_;  // one a group that is open
};

}  // namespace

std::string TranslateRegex(std::string_view regex) { return Translator(regex).Run(); }

std::optional<RunPattern> ParseRunPattern(std::string_view regex) {
  Scanner in(regex);
  auto atom = in.TakeSetAtom();
  if (!atom) return std::nullopt;
  RunPattern run;
  if (in.TryTake("?")) {
    run.prefix = std::move(atom->set);
    atom = in.TakeSetAtom();
    if (!atom) return std::nullopt;
  }
  run.body = std::move(atom->set);
  if (in.TryTake("+")) {
    run.max_count = 0;
  } else if (const auto repeat = in.PeekRepeat()) {
    if (repeat->min != 1 || !repeat->max || *repeat->max == 0) return std::nullopt;
    run.max_count = *repeat->max;
    in.Rewind(in.at() + repeat->num_bytes);
  } else {
    run.max_count = 1;
  }
  run.to_line_end = in.TryTake("$");
  const bool supported = in.done() && (!run.prefix || run.max_count == 0) &&
                         (!run.to_line_end || (!run.prefix && run.max_count == 0));
  if (!supported) return std::nullopt;
  return run;
}

}  // namespace fathom
