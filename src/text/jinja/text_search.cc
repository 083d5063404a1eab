#include "text/jinja/text_search.h"

#include <algorithm>

#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

// End of the run from `pos` of code points that are white space (or are not).
size_t RunEnd(std::string_view text, size_t pos, bool space) {
  while (pos < text.size()) {
    size_t next = pos;
    if (IsSpace(NextCodePoint(text, &next)) != space) break;
    pos = next;
  }
  return pos;
}

size_t Previous(std::string_view text, size_t pos) {
  --pos;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xc0) == 0x80) --pos;
  return pos;
}

}  // namespace

std::vector<std::string_view> Split(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> out;
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    out.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  out.push_back(text);
  return out;
}

std::vector<std::string_view> SplitRight(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> out;
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    const size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    out.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  out.push_back(text);
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> SplitSpace(std::string_view text, int64_t limit) {
  std::vector<std::string_view> out;
  size_t pos = RunEnd(text, 0, true);
  while (pos < text.size() && (limit < 0 || static_cast<int64_t>(out.size()) < limit)) {
    const size_t end = RunEnd(text, pos, false);
    out.push_back(text.substr(pos, end - pos));
    pos = RunEnd(text, end, true);
  }
  if (pos < text.size()) out.push_back(text.substr(pos));
  return out;
}

std::vector<std::string_view> SplitSpaceRight(std::string_view text, int64_t limit) {
  std::vector<std::string_view> out;
  text = Strip(text, nullptr, false, true);
  while (!text.empty() && (limit < 0 || static_cast<int64_t>(out.size()) < limit)) {
    size_t begin = text.size();
    while (begin > 0) {
      size_t at = Previous(text, begin);
      size_t after = at;
      if (IsSpace(NextCodePoint(text, &after))) break;
      begin = at;
    }
    out.push_back(text.substr(begin));
    text = Strip(text.substr(0, begin), nullptr, false, true);
  }
  if (!text.empty() && limit >= 0 && static_cast<int64_t>(out.size()) >= limit) out.push_back(text);
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> out;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    size_t next = begin;
    while (next < text.size()) {
      end = next;
      const char32_t c = NextCodePoint(text, &next);
      if (!IsLineBreak(c)) {
        end = next;
        continue;
      }
      if (c == '\r' && next < text.size() && text[next] == '\n') ++next;
      break;
    }
    out.push_back(text.substr(begin, (keep_ends ? next : end) - begin));
    begin = next;
  }
  return out;
}

std::string ReplaceText(std::string_view text, std::string_view old_text, std::string_view new_text, int64_t count, Budget& budget) {
  std::string out;
  int64_t done = 0;
  const auto more = [&] { return count < 0 || done < count; };
  const auto check = [&] {
    if (out.size() > Budget::kMaxBytes) budget.CheckBytes(out.size());
  };
  if (old_text.empty()) {  // around every code point
    for (size_t pos = 0; pos <= text.size();) {
      if (more()) out += new_text, ++done;
      if (pos == text.size()) break;
      const size_t begin = pos;
      NextCodePoint(text, &pos);
      out += text.substr(begin, pos - begin);
      check();
    }
  } else {
    size_t pos = 0;
    while (more()) {
      const size_t at = text.find(old_text, pos);
      if (at == std::string_view::npos) break;
      out += text.substr(pos, at - pos);
      out += new_text;
      pos = at + old_text.size();
      ++done;
      check();
    }
    out += text.substr(pos);
  }
  budget.CheckBytes(out.size());
  return out;
}

std::string CenterText(const std::string& text, int64_t width, char32_t fill, Budget& budget) {
  const auto size = static_cast<int64_t>(CountCodePoints(text));
  if (size >= width) return text;
  budget.CheckBytes(static_cast<size_t>(width));
  const int64_t room = width - size;
  const int64_t left = room / 2 + (room & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) AppendCodePoint(&out, fill);
  out += text;
  for (int64_t i = left; i < room; ++i) AppendCodePoint(&out, fill);
  return out;
}

}  // namespace fathom::jinja
