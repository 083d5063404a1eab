#include "text/jinja/string_literal.h"

#include <unicode/uchar.h>

#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Reads exactly `count` hexadecimal digits.
bool ReadHex(std::string_view text, size_t* pos, int count, char32_t* out) {
  char32_t value = 0;
  for (int i = 0; i < count; ++i, ++*pos) {
    const int digit = *pos < text.size() ? HexDigit(text[*pos]) : -1;
    if (digit < 0) return false;
    value = value * 16 + static_cast<char32_t>(digit);
  }
  *out = value;
  return true;
}

char SimpleEscape(char c) {
  switch (c) {
    case 'a': return '\a';
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'v': return '\v';
    case '\\': case '\'': case '"': return c;
    default: return 0;
  }
}

}  // namespace

bool UnescapeLiteral(std::string_view literal, std::string* content, std::string* cause) {
  content->clear();
  char32_t high = 0;  // a high surrogate that waits for its other half
  for (size_t pos = 0; pos < literal.size();) {
    const char c = literal[pos++];
    if (c != '\\') {
      *content += c;
      continue;
    }
    if (pos >= literal.size()) {
      *cause = "\\ at end of string";
      return false;
    }
    const char kind = literal[pos++];
    if (const char simple = SimpleEscape(kind)) {
      *content += simple;
    } else if (kind == '\n') {
      continue;
    } else if (kind >= '0' && kind <= '7') {
      char32_t value = static_cast<char32_t>(kind - '0');
      for (int i = 0; i < 2 && pos < literal.size() && literal[pos] >= '0' && literal[pos] <= '7'; ++i) {
        value = value * 8 + static_cast<char32_t>(literal[pos++] - '0');
      }
      AppendCodePoint(content, value);
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      const int count = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
      char32_t value = 0;
      if (!ReadHex(literal, &pos, count, &value)) {
        *cause = std::string("truncated \\") + kind + std::string(static_cast<size_t>(count), 'X') + " escape";
        return false;
      }
      if (value > 0x10ffff) {
        *cause = "illegal Unicode character";
        return false;
      }
      if (value >= 0xd800 && value < 0xdc00) {
        high = value;
        AppendCodePoint(content, 0xfffd);
        continue;
      }
      if (high != 0 && value >= 0xdc00 && value < 0xe000) {
        content->resize(content->size() - 3);
        value = 0x10000 + ((high - 0xd800) << 10) + (value - 0xdc00);
      }
      AppendCodePoint(content, value);
    } else if (kind == 'N' && pos < literal.size() && literal[pos] == '{') {
      const size_t end = literal.find('}', pos);
      UErrorCode status = U_ZERO_ERROR;
      const std::string name(literal.substr(pos + 1, end == std::string_view::npos ? 0 : end - pos - 1));
      const UChar32 named = u_charFromName(U_EXTENDED_CHAR_NAME, name.c_str(), &status);
      if (end == std::string_view::npos || U_FAILURE(status)) {
        *cause = "unknown Unicode character name";
        return false;
      }
      AppendCodePoint(content, static_cast<char32_t>(named));
      pos = end + 1;
    } else if (kind == 'N') {
      *cause = "malformed \\N character escape";
      return false;
    } else {
      *content += '\\';
      *content += kind;
    }
    high = 0;
  }
  return true;
}

}  // namespace fathom::jinja
