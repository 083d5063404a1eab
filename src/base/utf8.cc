#include "base/utf8.h"

#include <cstring>

namespace fathom {
namespace {

// Bytes before `end` that are ASCII, eight at a time.
size_t AsciiPrefix(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080ull) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

}  // namespace

Utf8Step DecodeUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t first = byte(0);
  Utf8Step step;
  if (first < 0x80) return {.code_point = first, .num_bytes = 1, .valid = true};
  // The range of the second byte excludes overlong forms, surrogates and what lies above U+10FFFF.
  uint32_t num_bytes, low = 0x80, high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    num_bytes = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    num_bytes = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    num_bytes = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return step;
  }
  uint32_t code_point = first & (0x7F >> num_bytes);
  for (uint32_t i = 1; i < num_bytes; ++i) {
    step.num_bytes = i;
    if (i == text.size()) {
      step.incomplete = true;
      return step;
    }
    if (byte(i) < low || byte(i) > high) return step;
    code_point = code_point << 6 | (byte(i) & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {.code_point = code_point, .num_bytes = num_bytes, .valid = true};
}

bool IsValidUtf8(std::string_view text) {
  while (true) {
    text.remove_prefix(AsciiPrefix(text));
    if (text.empty()) return true;
    const Utf8Step step = DecodeUtf8(text);
    if (!step.valid) return false;
    text.remove_prefix(step.num_bytes);
  }
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = DecodeUtf8(text);
    if (step.valid)
      out.append(text.substr(0, step.num_bytes));
    else
      AppendUtf8(out, kReplacementCharacter);
    text.remove_prefix(step.num_bytes);
  }
  return out;
}

void TakeWholeCharacters(std::string& bytes, std::string& text) {
  size_t at = 0;
  while (at < bytes.size()) {
    const std::string_view rest = std::string_view(bytes).substr(at);
    const Utf8Step step = DecodeUtf8(rest);
    if (step.incomplete) break;
    if (step.valid)
      text.append(rest.substr(0, step.num_bytes));
    else
      AppendUtf8(text, kReplacementCharacter);
    at += step.num_bytes;
  }
  bytes.erase(0, at);
}

void AppendUtf8(std::string& text, uint32_t code_point) {
  const auto put = [&](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

}  // namespace fathom
