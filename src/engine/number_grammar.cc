// A range is cut into texts by their digits: while a text equals a bound's digits it stays under that bound, after the first digit that differs it is free.
#include "engine/number_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <vector>

namespace fathom {
namespace {

constexpr double kBeyond = 1e16;  // of what the grammar writes
constexpr int64_t kMostInteger = 9'999'999'999'999'999;

std::string Join(const std::vector<std::string>& choices) {
  return choices.empty() ? "" : choices.size() == 1 ? choices[0] : fmt::format("({})", fmt::join(choices, " | "));
}

std::string DigitRange(char first, char last) { return first == last ? fmt::format("\"{}\"", first) : fmt::format("[{}-{}]", first, last); }

std::string FreeDigits(size_t count) { return count == 0 ? "" : count == 1 ? "[0-9]" : fmt::format("[0-9]{{{}}}", count); }

std::string Then(const std::string& first, const std::string& rest) { return rest.empty() ? first : first + " " + rest; }

// Texts of as many digits as both bounds have, from one to the other.
std::string SameLength(const std::string& least, const std::string& most, size_t at = 0, bool on_least = true, bool on_most = true) {
  if (at == least.size()) return "";
  if (!on_least && !on_most) return FreeDigits(least.size() - at);
  const char first = on_least ? least[at] : '0', last = on_most ? most[at] : '9';
  std::vector<std::string> choices;
  if (on_least && on_most && first == last) return Then(DigitRange(first, first), SameLength(least, most, at + 1, true, true));
  char inner_first = first, inner_last = last;
  if (on_least) {
    choices.push_back(Then(DigitRange(first, first), SameLength(least, most, at + 1, true, false)));
    ++inner_first;
  }
  if (on_most) --inner_last;
  if (inner_first <= inner_last) choices.push_back(Then(DigitRange(inner_first, inner_last), FreeDigits(least.size() - at - 1)));
  if (on_most) choices.push_back(Then(DigitRange(last, last), SameLength(least, most, at + 1, false, true)));
  return Join(choices);
}

// Whole numbers from `least` to `most`, both at least 0. Empty: none.
std::string Naturals(int64_t least, int64_t most) {
  std::vector<std::string> choices;
  while (least <= most) {
    const std::string begin = std::to_string(least), end = std::to_string(most);
    if (begin.size() == end.size()) {
      choices.push_back(SameLength(begin, end));
      break;
    }
    choices.push_back(SameLength(begin, std::string(begin.size(), '9')));
    if (most == kMostInteger) {  // all that are longer
      choices.push_back(fmt::format("[1-9] [0-9]{{{},15}}", begin.size()));
      break;
    }
    least = 1;
    for (size_t i = 0; i < begin.size(); ++i) least *= 10;
  }
  return Join(choices);
}

// A bound's absolute value in digits.
struct Decimal {
  int64_t whole = 0;
  std::string fraction = {};  // without zeros at its end
};

Decimal DecimalOf(double value) {
  char text[400];
  const auto end = std::to_chars(text, text + sizeof(text), std::abs(value), std::chars_format::fixed).ptr;
  const std::string digits(text, end);
  const size_t point = digits.find('.');
  Decimal decimal{.whole = std::stoll(digits.substr(0, point))};
  if (point != std::string::npos) decimal.fraction = digits.substr(point + 1);
  while (!decimal.fraction.empty() && decimal.fraction.back() == '0') decimal.fraction.pop_back();
  return decimal;
}

// Digits behind the point between two fractions; without a bound there is none on that side.
class Fractions {
 public:
  Fractions(const std::string* least, bool above_least, const std::string* most, bool below_most)
      : least_(least), most_(most), above_least_(above_least), below_most_(below_most) {
    length_ = std::max(least ? least->size() : 0, most ? most->size() : 0);
  }

  // With the point, or nothing where that may be. Empty: none.
  std::string Ebnf() const {
    const std::string digits = From(0, least_ != nullptr, most_ != nullptr, true);
    const bool may_be_none = MayEnd(0, least_ != nullptr, most_ != nullptr);
    if (digits.empty()) return may_be_none ? "\"\"" : "";
    return may_be_none ? fmt::format("(\".\" {})?", digits) : fmt::format("\".\" {}", digits);
  }

 private:
  char Digit(const std::string* bound, size_t at) const { return at < bound->size() ? (*bound)[at] : '0'; }
  bool IsZeroFrom(const std::string* bound, size_t at) const { return bound->find_first_not_of('0', std::min(at, bound->size())) == std::string::npos; }

  // Whether the digits may end here: those left are zeros.
  bool MayEnd(size_t at, bool on_least, bool on_most) const {
    if (on_least && (!IsZeroFrom(least_, at) || above_least_)) return false;
    return !on_most || !below_most_ || !IsZeroFrom(most_, at);
  }

  // Digits from `at` on; `needs_one`: not none. Empty: there is no such text.
  std::string From(size_t at, bool on_least, bool on_most, bool needs_one) const {
    if (!on_least && !on_most) return needs_one ? "[0-9]{1,8}" : "[0-9]{0,8}";
    if (at >= length_) {  // equal to a bound so far
      if (on_most) return (on_least && above_least_) || below_most_ ? "" : needs_one ? "\"0\"{1,4}" : "\"0\"{0,4}";
      if (above_least_) return "\"0\"{0,4} [1-9] [0-9]{0,4}";
      return needs_one ? "[0-9]{1,8}" : "[0-9]{0,8}";
    }
    std::vector<std::string> choices;
    const char first = on_least ? Digit(least_, at) : '0', last = on_most ? Digit(most_, at) : '9';
    const auto add = [&](char begin, char end, bool stays_on_least, bool stays_on_most) {
      if (begin > end) return;
      const std::string rest = From(at + 1, stays_on_least, stays_on_most, !MayEnd(at + 1, stays_on_least, stays_on_most));
      if (!rest.empty()) choices.push_back(DigitRange(begin, end) + " " + rest);
      else if (MayEnd(at + 1, stays_on_least, stays_on_most)) choices.push_back(DigitRange(begin, end));
    };
    if (on_least && on_most && first == last) {
      add(first, first, true, true);
    } else {
      if (on_least) add(first, first, true, false);
      add(static_cast<char>(first + (on_least ? 1 : 0)), static_cast<char>(last - (on_most ? 1 : 0)), false, false);
      if (on_most) add(last, last, false, true);
    }
    // The empty text is one of its own: where digits may end here and need not go on.
    if (!needs_one && MayEnd(at, on_least, on_most) && !choices.empty()) return fmt::format("({})?", Join(choices));
    return Join(choices);
  }

  const std::string *least_, *most_;
  bool above_least_, below_most_;
  size_t length_;
};

struct Side {  // of zero: absolute values
  double least = 0, most = kBeyond;
  bool above_least = false, below_most = true;
};

std::string NumbersOfSide(const Side& side) {
  const Decimal least = DecimalOf(side.least);
  const bool is_open = side.most >= kBeyond;
  const Decimal most = is_open ? Decimal{.whole = kMostInteger} : DecimalOf(side.most);
  if (least.whole > most.whole) return "";
  std::vector<std::string> choices;
  const auto add = [&](int64_t first, int64_t last, const std::string& fraction) {
    if (first > last || fraction.empty()) return;
    choices.push_back(Naturals(first, last) + " " + fraction);
  };
  if (least.whole == most.whole) {
    add(least.whole, least.whole, Fractions(&least.fraction, side.above_least, is_open ? nullptr : &most.fraction, side.below_most).Ebnf());
  } else {
    add(least.whole, least.whole, Fractions(&least.fraction, side.above_least, nullptr, false).Ebnf());
    add(least.whole + 1, is_open ? most.whole : most.whole - 1, "(\".\" [0-9]{1,8})?");
    if (!is_open) add(most.whole, most.whole, Fractions(nullptr, false, &most.fraction, side.below_most).Ebnf());
  }
  return Join(choices);
}

// The range cut at zero. False: nothing of it lies on that side.
bool CutAtZero(const NumberRange& range, bool is_negative, Side& side) {
  const auto& near = is_negative ? range.most : range.least;
  const auto& far = is_negative ? range.least : range.most;
  const bool is_near_open = is_negative ? range.below_most : range.above_least, is_far_open = is_negative ? range.above_least : range.below_most;
  const double sign = is_negative ? -1 : 1;
  side = {};
  if (near && sign * *near >= 0) {
    side.least = sign * *near;
    side.above_least = is_near_open;
  }
  if (far) {
    if (sign * *far < 0 || (sign * *far == 0 && (is_far_open || is_negative))) return false;
    side.most = sign * *far;
    side.below_most = is_far_open;
  }
  return side.least < kBeyond && (side.least < side.most || (side.least == side.most && !side.above_least && !side.below_most));
}

}  // namespace

std::string IntegersBetween(const NumberRange& range) {
  std::vector<std::string> choices;
  for (const bool is_negative : {false, true}) {
    Side side;
    if (!CutAtZero(range, is_negative, side)) continue;
    int64_t first = static_cast<int64_t>(std::ceil(side.least));
    if (side.above_least && static_cast<double>(first) == side.least) ++first;
    int64_t last = side.most >= kBeyond ? kMostInteger : static_cast<int64_t>(std::floor(side.most));
    if (side.most < kBeyond && side.below_most && static_cast<double>(last) == side.most) --last;
    if (is_negative) first = std::max<int64_t>(first, 1);
    const std::string naturals = Naturals(first, last);
    if (!naturals.empty()) choices.push_back(is_negative ? "\"-\" " + naturals : naturals);
  }
  return Join(choices);
}

std::string NumbersBetween(const NumberRange& range) {
  std::vector<std::string> choices;
  for (const bool is_negative : {false, true}) {
    Side side;
    if (!CutAtZero(range, is_negative, side)) continue;
    const std::string numbers = NumbersOfSide(side);
    if (!numbers.empty()) choices.push_back(is_negative ? "\"-\" " + numbers : numbers);
  }
  return Join(choices);
}

}  // namespace fathom
