#include "text/jinja/number_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja/errors.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

// 1234567.5 -> 1,234,567.5; digits after the first that is none stay.
std::string Group(const std::string& digits, char separator, size_t every) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

}  // namespace

std::string MagnitudeDigits(Int value, int base, bool upper) {
  if (value == 0) return "0";
  const char* symbols = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  auto rest = static_cast<unsigned __int128>(value);
  if (value < 0) rest = -rest;
  std::string out;
  for (; rest > 0; rest /= static_cast<unsigned>(base)) out += symbols[static_cast<size_t>(rest % static_cast<unsigned>(base))];
  std::reverse(out.begin(), out.end());
  return out;
}

std::string FloatDigits(double value, char type, int64_t precision, bool alternate) {
  const bool upper = type == 'E' || type == 'F' || type == 'G';
  if (!std::isfinite(value)) return std::isnan(value) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
  if (precision > 10000) Fail(ErrorClass::kLimit, "a float precision above 10000");
  const std::string format = std::string("%") + (alternate ? "#" : "") + ".*" + type;
  const int p = static_cast<int>(precision < 0 ? 6 : precision);
  const int size = std::snprintf(nullptr, 0, format.c_str(), p, std::fabs(value));
  std::string out(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), format.c_str(), p, std::fabs(value));
  out.pop_back();
  return out;
}

std::string PadText(const std::string& text, const FormatOptions& options, char default_align, Budget& budget) {
  const auto size = static_cast<int64_t>(CountCodePoints(text));
  if (size >= options.width) return text;
  budget.CheckBytes(static_cast<size_t>(options.width));
  const auto room = static_cast<size_t>(options.width - size);
  std::string fill;
  AppendCodePoint(&fill, options.fill);
  const auto times = [&](size_t n) {
    std::string out;
    for (size_t i = 0; i < n; ++i) out += fill;
    return out;
  };
  switch (options.align != 0 ? options.align : default_align) {
    case '<': return text + times(room);
    case '^': return times(room / 2) + text + times(room - room / 2);
    default: return times(room) + text;
  }
}

std::string PadNumber(bool negative, const std::string& prefix, std::string digits, const FormatOptions& options, Budget& budget) {
  std::string head = negative ? "-" : options.sign == '-' ? "" : std::string(1, options.sign);
  head += prefix;
  const size_t every = options.group == '_' && !prefix.empty() ? 4 : 3;
  const bool zero_fill = options.align == '=' && options.fill == '0';
  if (options.group != 0) {
    if (zero_fill) {  // zeros take part in the grouping
      const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
      budget.CheckBytes(static_cast<size_t>(options.width));
      size_t zeros = 0;
      while (static_cast<int64_t>(head.size() + digits.size() + zeros + (whole + zeros - 1) / every) < options.width) ++zeros;
      digits.insert(0, zeros, '0');
    }
    digits = Group(digits, options.group, every);
  }
  if (options.align == '=') {
    const auto size = static_cast<int64_t>(head.size() + digits.size());
    if (size >= options.width) return head + digits;
    FormatOptions inner = options;
    inner.align = '>';
    inner.width = options.width - static_cast<int64_t>(head.size());
    return head + PadText(digits, inner, '>', budget);
  }
  return PadText(head + digits, options, '>', budget);
}

}  // namespace fathom::jinja
