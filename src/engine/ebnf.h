// Writing grammars in the EBNF that GrammarCompiler reads.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

// Unicode characters as ranges, both ends included, rising and apart from each other.
class CharacterSet {
 public:
  CharacterSet() = default;
  CharacterSet(std::initializer_list<std::pair<uint32_t, uint32_t>> ranges);
  static CharacterSet All();  // without surrogates
  void Add(uint32_t first, uint32_t last);
  void Add(const CharacterSet& other);
  CharacterSet Without(const CharacterSet& other) const;
  bool Contains(uint32_t character) const;
  bool empty() const { return ranges_.empty(); }
  // "[...]"; not of an empty set.
  std::string Ebnf() const;

 private:
  std::vector<std::pair<uint32_t, uint32_t>> ranges_;
};

// "..." for valid UTF-8.
std::string EbnfText(std::string_view text);
// A character inside of a JSON string, as JSON writes it: most as they are, some behind a backslash.
std::string JsonCharacter(uint32_t character);
// Those that JSON writes as they are.
const CharacterSet& PlainJsonCharacters();

// Gathers rules. Names are unique; equal bodies of equal hints are not looked for.
class EbnfWriter {
 public:
  // A name for a rule whose body comes later.
  std::string NewName(std::string_view hint);
  void Define(const std::string& name, const std::string& body);
  std::string Rule(std::string_view hint, const std::string& body);
  // The rule `name` of JSON itself, with those it needs: ws, string, integer, number, boolean, null, value, object, array.
  std::string Json(const std::string& name);
  // All rules; `root` is the body of the first.
  std::string Text(const std::string& root) const;
  int64_t num_bytes() const { return num_bytes_; }

 private:
  std::vector<std::pair<std::string, std::string>> rules_;
  std::map<std::string, int64_t> hints_;
  std::map<std::string, bool> json_rules_;
  int64_t num_bytes_ = 0;
};

// Texts without `stop`, then `stop`: a rule's body.
std::string EbnfUntil(std::string_view stop);

}  // namespace fathom
