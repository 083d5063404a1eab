#include "text/byte_alphabet.h"

#include <array>

#include "base/utf8.h"

namespace fathom {
namespace {

constexpr uint32_t kEnd = 256 + 68;  // 68 bytes are not printable

constexpr std::array<uint16_t, 256> kCharacters = [] {
  std::array<uint16_t, 256> characters{};
  uint16_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    characters[byte] = printable ? static_cast<uint16_t>(byte) : next++;
  }
  return characters;
}();

constexpr std::array<int16_t, kEnd> kBytes = [] {
  std::array<int16_t, kEnd> bytes{};
  for (auto& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kCharacters[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

}  // namespace

uint32_t ByteToCharacter(uint8_t byte) { return kCharacters[byte]; }

int CharacterToByte(uint32_t code_point) { return code_point < kEnd ? kBytes[code_point] : -1; }

std::optional<std::string> BytesOfAlphabetText(std::string_view text) {
  std::string bytes;
  for (const char* p = text.data(); p < text.data() + text.size();) {
    const int byte = CharacterToByte(NextCodePoint(p));
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

std::string AlphabetTextOfBytes(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) AppendUtf8(text, ByteToCharacter(static_cast<uint8_t>(byte)));
  return text;
}

}  // namespace fathom
