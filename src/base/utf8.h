// UTF-8: decoding with the maximal-subpart rule (Unicode 3.9, table 3-7; Python's errors="replace"), validity, repair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom {

constexpr uint32_t kReplacementCharacter = 0xFFFD;

struct Utf8Step {
  uint32_t code_point = kReplacementCharacter;
  uint32_t num_bytes = 1;  // taken from the text; of an invalid sequence its maximal subpart
  bool valid = false;
  bool incomplete = false;  // invalid only because the text ends inside of the character
};

// The first character of `text`, which must not be empty.
Utf8Step DecodeUtf8(std::string_view text);

bool IsValidUtf8(std::string_view text);

// `text` with each maximal invalid subpart replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);

// Moves the characters that `bytes` surely hold to the end of `text`, invalid subparts as U+FFFD; a last character whose
// bytes are not all there yet stays in `bytes`.
void TakeWholeCharacters(std::string& bytes, std::string& text);

void AppendUtf8(std::string& text, uint32_t code_point);

// The character at `p` in text that is known to be valid; *p goes behind it.
inline uint32_t NextCodePoint(const char*& p) {
  const auto byte = [](char c) { return static_cast<uint32_t>(static_cast<unsigned char>(c)); };
  const uint32_t first = byte(p[0]);
  if (first < 0x80) return ++p, first;
  if (first < 0xE0) return p += 2, (first & 0x1F) << 6 | (byte(p[-1]) & 0x3F);
  if (first < 0xF0) return p += 3, (first & 0x0F) << 12 | (byte(p[-2]) & 0x3F) << 6 | (byte(p[-1]) & 0x3F);
  p += 4;
  return (first & 0x07) << 18 | (byte(p[-3]) & 0x3F) << 12 | (byte(p[-2]) & 0x3F) << 6 | (byte(p[-1]) & 0x3F);
}

// The start of the character that ends before `p` (valid text, p behind its start).
inline const char* PreviousCharacter(const char* p) {
  do --p;
  while ((static_cast<unsigned char>(*p) & 0xC0) == 0x80);
  return p;
}

}  // namespace fathom
