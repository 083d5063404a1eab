// Strings by code point, as Python's str sees them. Text is UTF-8; a byte that is not part of valid UTF-8 counts as one
// code point of its own (it cannot come from JSON, and templates are checked).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::jinja {

bool IsAscii(std::string_view text);
bool IsValidUtf8(std::string_view text);
size_t CountCodePoints(std::string_view text);
// The code point at byte `*pos`, which moves past it.
char32_t NextCodePoint(std::string_view text, size_t* pos);
void AppendCodePoint(std::string* text, char32_t code_point);
std::vector<char32_t> Decode(std::string_view text);
std::string Encode(const std::vector<char32_t>& code_points);
// Code points [begin, end) of `text`.
std::string_view SliceCodePoints(std::string_view text, size_t begin, size_t end);

// Python's str.isspace for one code point, and the other classes.
bool IsSpace(char32_t c);
bool IsPrintable(char32_t c);
bool IsAlpha(char32_t c);
bool IsDecimal(char32_t c);
bool IsDigit(char32_t c);
bool IsNumeric(char32_t c);
bool IsUpper(char32_t c);
bool IsLower(char32_t c);
bool IsTitle(char32_t c);
bool IsIdentifier(std::string_view text);
inline bool IsAlnum(char32_t c) { return IsAlpha(c) || IsDecimal(c) || IsDigit(c) || IsNumeric(c); }
bool IsLineBreak(char32_t c);  // str.splitlines

std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string CaseFold(std::string_view text);
std::string Title(std::string_view text);       // str.title
std::string Capitalize(std::string_view text);  // str.capitalize
std::string SwapCase(std::string_view text);
// str.strip: `chars` nullptr strips white space.
std::string_view Strip(std::string_view text, const std::string* chars, bool left, bool right);

}  // namespace fathom::jinja
