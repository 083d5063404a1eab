#include "base/json.h"

#include "base/error.h"
#include "base/file.h"

namespace fathom {
namespace {

constexpr int kMaxJsonDepth = 256;

// nlohmann's parser is iterative, but destroying or dumping a deep value recurses: refuse the depth first.
void CheckDepth(std::string_view text, const std::string& what) {
  int depth = 0;
  ForEachJsonMark(text, [&](char c) {
    if (c == '[' || c == '{') FATHOM_USER_CHECK(++depth <= kMaxJsonDepth, "{}: JSON nested deeper than {} levels", what, kMaxJsonDepth);
    else if (c == ']' || c == '}') --depth;
  });
}

template <typename J>
J Parse(std::string_view text, const std::string& what) {
  CheckDepth(text, what);
  try {
    return J::parse(text);
  } catch (const nlohmann::json::exception& e) {
    std::string cause = e.what();
    if (const auto end = cause.find("] "); end != std::string::npos) cause = cause.substr(end + 2);
    ThrowUserError("{}: not valid JSON: {}", what, cause);
  }
}

}  // namespace

Json ParseJson(std::string_view text, const std::string& what) { return Parse<Json>(text, what); }
OrderedJson ParseOrderedJson(std::string_view text, const std::string& what) { return Parse<OrderedJson>(text, what); }
Json ReadJsonFile(const std::filesystem::path& path) { return ParseJson(ReadFile(path), path.string()); }
OrderedJson ReadOrderedJsonFile(const std::filesystem::path& path) { return ParseOrderedJson(ReadFile(path), path.string()); }

}  // namespace fathom
