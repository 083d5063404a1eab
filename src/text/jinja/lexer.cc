#include "text/jinja/lexer.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "text/jinja/errors.h"
#include "text/jinja/printing.h"
#include "text/jinja/string_literal.h"
#include "text/jinja/unicode.h"

namespace fathom::jinja {
namespace {

// \r\n and \r become \n, and one line end at the very end is dropped.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool IsDigitChar(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(NormalizeNewlines(source)) {}

  std::vector<Token> Run() {
    try {
      while (pos_ < text_.size()) Root();
      Push(TokenType::kEnd, "");
    } catch (const SyntaxError& error) {
      Push(TokenType::kError, error.what());
      tokens_.back().line = error.line();
    }
    return std::move(tokens_);
  }

 private:
  enum class Tag { kNone, kVariable, kBlock, kComment, kRaw };

  void Push(TokenType type, std::string text) {
    Token token;
    token.type = type;
    token.line = line_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
  }

  // Moves to `to`, counting lines.
  void Advance(size_t to) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(pos_), text_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    pos_ = to;
    line_starting_ = pos_ > 0 && text_[pos_ - 1] == '\n';
  }

  size_t SkipSpace(size_t pos) const {
    while (pos < text_.size()) {
      size_t next = pos;
      if (!IsSpace(NextCodePoint(text_, &next))) break;
      pos = next;
    }
    return pos;
  }
  bool At(size_t pos, std::string_view what) const { return text_.compare(pos, what.size(), what) == 0; }

  // {%- raw -%}: the position after it, or 0.
  size_t RawBeginEnd(size_t pos) const {
    pos += 2;
    if (pos < text_.size() && (text_[pos] == '-' || text_[pos] == '+')) ++pos;
    pos = SkipSpace(pos);
    if (!At(pos, "raw")) return 0;
    pos = SkipSpace(pos + 3);
    if (At(pos, "-%}")) return SkipSpace(pos + 3);
    return At(pos, "%}") ? pos + 2 : 0;
  }

  void Root() {
    size_t tag_pos = pos_;
    Tag tag = Tag::kNone;
    size_t raw_end = 0;
    for (; tag_pos < text_.size(); ++tag_pos) {
      tag_pos = std::min(text_.find('{', tag_pos), text_.size());
      if (At(tag_pos, "{{")) tag = Tag::kVariable;
      else if (At(tag_pos, "{#")) tag = Tag::kComment;
      else if (At(tag_pos, "{%")) tag = (raw_end = RawBeginEnd(tag_pos)) != 0 ? Tag::kRaw : Tag::kBlock;
      if (tag != Tag::kNone) break;
    }
    tag_pos = std::min(tag_pos, text_.size());
    if (tag == Tag::kNone) {
      PushData(text_.substr(pos_));
      Advance(text_.size());
      return;
    }
    size_t after = tag_pos + 2;
    const char sign = after < text_.size() && (text_[after] == '-' || text_[after] == '+') ? text_[after] : 0;
    if (sign != 0) ++after;
    PushData(Stripped(text_.substr(pos_, tag_pos - pos_), sign, tag == Tag::kVariable));
    Advance(tag_pos);
    switch (tag) {
      case Tag::kVariable:
        Push(TokenType::kVariableBegin, "");
        Advance(after);
        Expression("}}", TokenType::kVariableEnd);
        break;
      case Tag::kBlock:
        Push(TokenType::kBlockBegin, "");
        Advance(after);
        Expression("%}", TokenType::kBlockEnd);
        break;
      case Tag::kComment: Comment(after); break;
      case Tag::kRaw: Raw(raw_end); break;
      case Tag::kNone: break;
    }
  }

  // What `-`, `+` or lstrip_blocks leave of the data in front of a tag.
  std::string Stripped(const std::string& data, char sign, bool variable) const {
    if (sign == '-') return std::string(Strip(data, nullptr, false, true));
    if (sign == '+' || variable) return data;
    const size_t newline = data.rfind('\n');
    const size_t line_begin = newline == std::string::npos ? 0 : newline + 1;
    if (line_begin == 0 && !line_starting_) return data;
    const std::string_view last_line = std::string_view(data).substr(line_begin);
    return Strip(last_line, nullptr, true, false).empty() ? data.substr(0, line_begin) : data;
  }

  void PushData(std::string data) {
    if (!data.empty()) Push(TokenType::kData, std::move(data));
  }

  // The end of a block or comment at `pos` (`close` is "%}" or "#}"): the position after it, 0 when it is not there.
  size_t BlockEnd(size_t pos, std::string_view close) const {
    if (pos < text_.size() && text_[pos] == '+' && At(pos + 1, close)) return pos + 3;
    if (pos < text_.size() && text_[pos] == '-' && At(pos + 1, close)) return SkipSpace(pos + 3);
    if (!At(pos, close)) return 0;
    return pos + 2 < text_.size() && text_[pos + 2] == '\n' ? pos + 3 : pos + 2;
  }

  void Comment(size_t begin) {
    for (size_t pos = begin; pos < text_.size(); ++pos) {
      if (const size_t end = BlockEnd(pos, "#}")) {
        Advance(end);
        return;
      }
    }
    throw SyntaxError(line_, "Missing end of comment tag");
  }

  void Raw(size_t begin) {
    const int begin_line = line_;
    Advance(begin);
    for (size_t pos = text_.find("{%", begin); pos != std::string::npos; pos = text_.find("{%", pos + 1)) {
      size_t at = pos + 2;
      const char sign = at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at++] : '\0';
      at = SkipSpace(at);
      if (!At(at, "endraw")) continue;
      const size_t end = BlockEnd(SkipSpace(at + 6), "%}");
      if (end == 0) continue;
      PushData(Stripped(text_.substr(begin, pos - begin), sign, false));
      Advance(end);
      return;
    }
    throw SyntaxError(begin_line, "Missing end of raw directive");
  }

  void Expression(std::string_view close, TokenType end_type) {
    std::string open;  // brackets that wait for their end
    while (true) {
      pos_ = (Advance(SkipSpace(pos_)), pos_);
      if (pos_ >= text_.size()) return;  // the parser finds the missing end
      if (open.empty()) {
        size_t end = 0;
        if (end_type == TokenType::kBlockEnd) end = BlockEnd(pos_, close);
        else if (text_[pos_] == '-' && At(pos_ + 1, close)) end = SkipSpace(pos_ + 3);
        else if (At(pos_, close)) end = pos_ + 2;
        if (end != 0) {
          Push(end_type, "");
          Advance(end);
          return;
        }
      }
      if (!Number() && !Name() && !StringLiteral()) Operator(&open);
    }
  }

  // Digits with single underscores between them; the position after, or `pos`.
  size_t Digits(size_t pos) const {
    if (pos >= text_.size() || !IsDigitChar(text_[pos])) return pos;
    while (pos < text_.size() && (IsDigitChar(text_[pos]) || (text_[pos] == '_' && pos + 1 < text_.size() && IsDigitChar(text_[pos + 1])))) ++pos;
    return pos;
  }

  bool Number() {
    if (!IsDigitChar(text_[pos_])) return false;
    const size_t whole = Digits(pos_);
    size_t end = whole;
    if (pos_ == 0 || text_[pos_ - 1] != '.') {
      if (end < text_.size() && text_[end] == '.' && Digits(end + 1) > end + 1) end = Digits(end + 1);
      if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
        size_t exponent = end + 1;
        if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
        if (Digits(exponent) > exponent) end = Digits(exponent);
      }
    }
    if (end > whole) {
      std::string digits = text_.substr(pos_, end - pos_);
      std::erase(digits, '_');
      double value = 0;
      const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      if (result.ec == std::errc::result_out_of_range) value = std::strtod(digits.c_str(), nullptr);
      PushNumber(TokenType::kFloat, Value::Float(value), end);
    } else {
      Integer(whole);
    }
    return true;
  }

  void Integer(size_t decimal_end) {
    int base = 10;
    size_t end = decimal_end;
    if (text_[pos_] == '0') {
      const char letter = pos_ + 1 < text_.size() ? static_cast<char>(text_[pos_ + 1] | 0x20) : 0;
      base = letter == 'b' ? 2 : letter == 'o' ? 8 : letter == 'x' ? 16 : 10;
      size_t at = base == 10 ? pos_ : pos_ + 2;
      const auto digit = [&](size_t i) { return i < text_.size() && DigitOf(text_[i]) < (base == 10 ? 1 : base); };
      const size_t first = at;
      while (digit(at) || (at < text_.size() && text_[at] == '_' && digit(at + 1))) ++at;
      if (at == first) base = 10, at = pos_ + 1;
      end = at;
    }
    Int value = 0;
    for (size_t i = base == 10 ? pos_ : pos_ + 2; i < end; ++i) {
      if (text_[i] == '_') continue;
      if (__builtin_mul_overflow(value, Int{base}, &value) || __builtin_add_overflow(value, Int{DigitOf(text_[i])}, &value)) {
        throw SyntaxError(line_, "an integer of more than 128 bits");
      }
    }
    PushNumber(TokenType::kInteger, Value::Integer(value), end);
  }

  static int DigitOf(char c) {
    if (IsDigitChar(c)) return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
  }

  void PushNumber(TokenType type, Value value, size_t end) {
    Push(type, text_.substr(pos_, end - pos_));
    tokens_.back().number = std::move(value);
    Advance(end);
  }

  bool Name() {
    size_t end = pos_;
    while (end < text_.size()) {
      size_t next = end;
      const char32_t c = NextCodePoint(text_, &next);
      if (c != '_' && !IsAlnum(c)) break;
      end = next;
    }
    if (end == pos_) return false;
    std::string name = text_.substr(pos_, end - pos_);
    if (!IsIdentifier(name)) throw SyntaxError(line_, "Invalid character in identifier");
    Push(TokenType::kName, std::move(name));
    Advance(end);
    return true;
  }

  bool StringLiteral() {
    const char quote = text_[pos_];
    if (quote != '\'' && quote != '"') return false;
    size_t end = pos_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return false;
    std::string content;
    std::string cause;
    if (!UnescapeLiteral(std::string_view(text_).substr(pos_ + 1, end - pos_ - 1), &content, &cause)) throw SyntaxError(line_, cause);
    Push(TokenType::kString, std::move(content));
    Advance(end + 1);
    return true;
  }

  void Operator(std::string* open) {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    std::string op;
    for (const std::string_view two : kTwo) if (At(pos_, two)) op = two;
    if (op.empty() && std::string_view("+-/*%~[](){}><=.:|,;").find(text_[pos_]) != std::string_view::npos) op = text_[pos_];
    if (op.empty()) {
      size_t next = pos_;
      NextCodePoint(text_, &next);
      throw SyntaxError(line_, "unexpected char " + ReprText(text_.substr(pos_, next - pos_)) + " at " +
                                   std::to_string(CountCodePoints(std::string_view(text_).substr(0, pos_))));
    }
    if (op == "{") *open += '}';
    else if (op == "(") *open += ')';
    else if (op == "[") *open += ']';
    else if (op == "}" || op == ")" || op == "]") {
      if (open->empty()) throw SyntaxError(line_, "unexpected '" + op + "'");
      const char expected = open->back();
      open->pop_back();
      if (expected != op[0]) throw SyntaxError(line_, "unexpected '" + op + "', expected '" + expected + "'");
    }
    Push(TokenType::kOperator, op);
    Advance(pos_ + op.size());
  }

  std::string text_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) {
  if (!IsValidUtf8(source)) {
    const auto valid = [&](size_t n) { return IsValidUtf8(source.substr(0, n)); };
    int line = 1;
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] != '\n') continue;
      if (!valid(i)) break;
      ++line;
    }
    throw SyntaxError(line, "not valid UTF-8");
  }
  return Lexer(source).Run();
}

}  // namespace fathom::jinja
