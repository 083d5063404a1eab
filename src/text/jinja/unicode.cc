#include "text/jinja/unicode.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>

namespace fathom::jinja {
namespace {

// Length of the valid UTF-8 sequence at `pos`, 0 when it is not valid.
size_t SequenceLength(std::string_view s, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(pos);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || pos + length > s.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(pos + i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = byte(pos + 1);
  if (lead == 0xe0 && second < 0xa0) return 0;
  if (lead == 0xed && second > 0x9f) return 0;
  if (lead == 0xf0 && second < 0x90) return 0;
  if (lead == 0xf4 && second > 0x8f) return 0;
  return length;
}

size_t CodePointLength(std::string_view s, size_t pos) { return std::max<size_t>(1, SequenceLength(s, pos)); }

icu::UnicodeString ToIcu(std::string_view text) {
  return icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
}

std::string FromIcu(const icu::UnicodeString& text) {
  std::string out;
  text.toUTF8String(out);
  return out;
}

std::string TitleOf(char32_t c) {
  icu::UnicodeString one(static_cast<UChar32>(c));
  return FromIcu(one.toTitle(nullptr, icu::Locale::getRoot()));
}

bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c) || IsTitle(c); }

}  // namespace

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) >= 0; });
}

bool IsValidUtf8(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    const size_t length = SequenceLength(text, pos);
    if (length == 0) return false;
    pos += length;
  }
  return true;
}

size_t CountCodePoints(std::string_view text) {
  if (IsAscii(text)) return text.size();
  size_t count = 0;
  for (size_t pos = 0; pos < text.size(); pos += CodePointLength(text, pos)) ++count;
  return count;
}

char32_t NextCodePoint(std::string_view text, size_t* pos) {
  const size_t length = SequenceLength(text, *pos);
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[*pos + i])); };
  char32_t c = byte(0);
  if (length == 0) c = 0xfffd;
  else if (length == 2) c = (c & 0x1f) << 6 | (byte(1) & 0x3f);
  else if (length == 3) c = (c & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
  else if (length == 4) c = (c & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
  *pos += std::max<size_t>(1, length);
  return c;
}

void AppendCodePoint(std::string* text, char32_t c) {
  if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) c = 0xfffd;
  if (c < 0x80) {
    text->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    text->push_back(static_cast<char>(0xc0 | c >> 6));
    text->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    text->push_back(static_cast<char>(0xe0 | c >> 12));
    text->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    text->push_back(static_cast<char>(0xf0 | c >> 18));
    text->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

std::vector<char32_t> Decode(std::string_view text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) out.push_back(NextCodePoint(text, &pos));
  return out;
}

std::string Encode(const std::vector<char32_t>& code_points) {
  std::string out;
  out.reserve(code_points.size());
  for (const char32_t c : code_points) AppendCodePoint(&out, c);
  return out;
}

std::string_view SliceCodePoints(std::string_view text, size_t begin, size_t end) {
  if (end <= begin) return {};
  if (IsAscii(text)) return text.substr(std::min(begin, text.size()), end - begin);
  size_t pos = 0;
  size_t count = 0;
  while (pos < text.size() && count < begin) pos += CodePointLength(text, pos), ++count;
  const size_t first = pos;
  while (pos < text.size() && count < end) pos += CodePointLength(text, pos), ++count;
  return text.substr(first, pos - first);
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

bool IsPrintable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c != 0x7f;
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_CONTROL_CHAR: case U_FORMAT_CHAR: case U_SURROGATE: case U_PRIVATE_USE_CHAR: case U_UNASSIGNED:
    case U_LINE_SEPARATOR: case U_PARAGRAPH_SEPARATOR: case U_SPACE_SEPARATOR:
      return false;
    default: return true;
  }
}

bool IsAlpha(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0; }
bool IsDecimal(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_DECIMAL_DIGIT_NUMBER; }
bool IsDigit(char32_t c) {
  const int type = u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NUMERIC_TYPE);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}
bool IsNumeric(char32_t c) { return u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NUMERIC_TYPE) != U_NT_NONE; }
bool IsUpper(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_UPPERCASE); }
bool IsLower(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_LOWERCASE); }
bool IsTitle(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_TITLECASE_LETTER; }
bool IsLineBreak(char32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsIdentifier(std::string_view text) {
  if (text.empty()) return false;
  for (size_t pos = 0; pos < text.size();) {
    const bool first = pos == 0;
    const auto c = static_cast<UChar32>(NextCodePoint(text, &pos));
    if (c == '_') continue;
    if (!u_hasBinaryProperty(c, first ? UCHAR_XID_START : UCHAR_XID_CONTINUE)) return false;
  }
  return true;
}

std::string Upper(std::string_view text) {
  if (IsAscii(text)) {
    std::string out(text);
    for (char& c : out) if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    return out;
  }
  return FromIcu(ToIcu(text).toUpper(icu::Locale::getRoot()));
}

std::string Lower(std::string_view text) {
  if (IsAscii(text)) {
    std::string out(text);
    for (char& c : out) if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    return out;
  }
  return FromIcu(ToIcu(text).toLower(icu::Locale::getRoot()));
}

std::string CaseFold(std::string_view text) { return FromIcu(ToIcu(text).foldCase()); }

std::string Title(std::string_view text) {
  // Runs of cased characters: the first in title case, the others lowered (in the context of the whole text).
  std::string out;
  std::string run;
  bool in_word = false;
  const auto flush = [&] {
    out += Lower(run);
    run.clear();
  };
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextCodePoint(text, &pos);
    if (in_word) {
      AppendCodePoint(&run, c);
    } else {
      flush();
      out += TitleOf(c);
    }
    in_word = IsCased(c);
    if (!in_word) flush();
  }
  flush();
  return out;
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return {};
  size_t pos = 0;
  const char32_t first = NextCodePoint(text, &pos);
  return TitleOf(first) + Lower(text.substr(pos));
}

std::string SwapCase(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = NextCodePoint(text, &pos);
    const std::string_view one = text.substr(begin, pos - begin);
    if (IsUpper(c)) out += Lower(one);
    else if (IsLower(c)) out += Upper(one);
    else out += one;
  }
  return out;
}

std::string_view Strip(std::string_view text, const std::string* chars, bool left, bool right) {
  const auto stripped = [&](char32_t c) {
    if (chars == nullptr) return IsSpace(c);
    for (size_t pos = 0; pos < chars->size();) if (NextCodePoint(*chars, &pos) == c) return true;
    return false;
  };
  size_t begin = 0;
  while (left && begin < text.size()) {
    size_t pos = begin;
    if (!stripped(NextCodePoint(text, &pos))) break;
    begin = pos;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t pos = end - 1;
    while (pos > begin && (static_cast<unsigned char>(text[pos]) & 0xc0) == 0x80) --pos;
    size_t after = pos;
    if (!stripped(NextCodePoint(text, &after)) || after != end) break;
    end = pos;
  }
  return text.substr(begin, end - begin);
}

}  // namespace fathom::jinja
