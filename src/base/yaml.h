// YAML through yaml-cpp, for files that people write (recipes). A value knows where it stands, so that every mistake is one line:
// "recipe.yaml:12: train.steps: must be an integer from 1 to ..., got 'many'".
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace fathom {

// A value of a document, with its path in it. Copies share the document.
class Yaml {
 public:
  // Throws UserError with the line for what is not YAML, a key that stands twice, and nesting deeper than 64. An empty text is a map without keys.
  static Yaml Parse(std::string_view text, const std::string& file);
  static Yaml ReadFile(const std::filesystem::path& path);

  // Puts the value that `text` spells (YAML) where the dotted path leads ("train.steps", "data.sources.0.weight"), making maps on the way:
  // what `--set PATH=TEXT` does. Throws UserError naming the path when it leads through something that is no map or list.
  void Set(const std::string& path, const std::string& text);

  bool is_map() const;
  bool is_list() const;
  bool is_scalar() const;
  bool is_null() const;

  // Of a map. Find gives nothing for a key that is absent or null; Get throws when Find gives nothing.
  std::optional<Yaml> Find(const std::string& key) const;
  Yaml Get(const std::string& key) const;
  std::vector<std::pair<std::string, Yaml>> Entries() const;
  // Throws for a key that is none of `known`, with the nearest one.
  void AllowKeys(const std::vector<std::string>& known) const;
  // Of a list.
  std::vector<Yaml> Items() const;

  std::string AsString() const;
  bool AsBool() const;
  int64_t AsInt(int64_t least = std::numeric_limits<int64_t>::min(), int64_t most = std::numeric_limits<int64_t>::max()) const;
  double AsNumber(double least = -std::numeric_limits<double>::infinity(), double most = std::numeric_limits<double>::infinity()) const;

  // The value of a key of this map, or `fallback` when it is absent or null.
  std::string GetString(const std::string& key, const std::string& fallback) const;
  bool GetBool(const std::string& key, bool fallback) const;
  int64_t GetInt(const std::string& key, int64_t fallback, int64_t least, int64_t most = std::numeric_limits<int64_t>::max()) const;
  double GetNumber(const std::string& key, double fallback, double least, double most) const;

  const std::string& path() const { return path_; }  // "data.sources[0].weight"; "" for the whole document
  std::string Where() const;                         // "recipe.yaml:12: data.sources[0].weight", or "--set path"
  // UserError "<Where()>: <message>".
  template <typename... Args>
  [[noreturn]] void Fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw UserError(Where() + ": " + fmt::format(format, std::forward<Args>(args)...));
  }
  // The document as YAML again (what --set changed is in it); comments are lost.
  std::string Dump() const;

 private:
  struct Document;
  struct Node;
  Yaml(std::shared_ptr<Document> document, std::shared_ptr<const Node> node, std::string path);
  Yaml Child(const Node& node, std::string path) const;

  std::shared_ptr<Document> document_;
  std::shared_ptr<const Node> node_;
  std::string path_;
};

}  // namespace fathom
