// JSON through nlohmann::json. OrderedJson keeps the order of keys (templates print it as it was read).
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace fathom {

// Calls visit(c) for each of { } [ ] : that stands outside of strings, in order. The text need not be JSON: this is for limits that must hold before it is parsed.
template <typename Visit>
void ForEachJsonMark(std::string_view text, Visit&& visit) {
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') ++i;
    else if (c == '"') in_string = !in_string;
    else if (!in_string && (c == '{' || c == '}' || c == '[' || c == ']' || c == ':')) visit(c);
  }
}

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

// Parses `text`; `what` names its origin in the error ("config.json", "--tools"). Throws UserError with the
// position and cause; nesting deeper than 256 levels is refused (a parser of outside bytes must not overflow the stack).
Json ParseJson(std::string_view text, const std::string& what);
OrderedJson ParseOrderedJson(std::string_view text, const std::string& what);

// Reads and parses a file. Throws UserError when it does not exist, cannot be read or is not JSON.
Json ReadJsonFile(const std::filesystem::path& path);
OrderedJson ReadOrderedJsonFile(const std::filesystem::path& path);

}  // namespace fathom
