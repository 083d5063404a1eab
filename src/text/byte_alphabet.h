// GPT-2's way to write any byte as a printable character: printable bytes of Latin-1 stand for themselves, the others for
// U+0100 onwards in order. Vocabularies of byte-level BPE are written with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

// The character of `byte`.
uint32_t ByteToCharacter(uint8_t byte);
// The byte that the character stands for, or -1.
int CharacterToByte(uint32_t code_point);
// The bytes of a text that is written in the alphabet (valid UTF-8), or nothing when a character is not of it.
std::optional<std::string> BytesOfAlphabetText(std::string_view text);
std::string AlphabetTextOfBytes(std::string_view bytes);

}  // namespace fathom
