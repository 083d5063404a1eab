#include "base/yaml.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <set>

#include "base/file.h"
#include "base/nearest_name.h"
#include "base/utf8.h"

namespace fathom {
namespace {

constexpr int kMaxYamlDepth = 64;
constexpr int64_t kMaxNodes = 1 << 20;  // what aliases can unfold to

// Every key once, and no value inside of itself.
void CheckNode(const YAML::Node& node, const std::string& file, int depth, int64_t& num_nodes) {
  const int line = node.Mark().line + 1;
  FATHOM_USER_CHECK(depth <= kMaxYamlDepth, "{}:{}: nested deeper than {} levels", file, line, kMaxYamlDepth);
  FATHOM_USER_CHECK(++num_nodes <= kMaxNodes, "{}: more than {} values", file, kMaxNodes);
  if (node.IsSequence()) {
    for (const auto& item : node) CheckNode(item, file, depth + 1, num_nodes);
  } else if (node.IsMap()) {
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const int key_line = entry.first.Mark().line + 1;
      FATHOM_USER_CHECK(entry.first.IsScalar(), "{}:{}: a key must be a text", file, key_line);
      FATHOM_USER_CHECK(seen.insert(entry.first.Scalar()).second, "{}:{}: the key '{}' stands twice", file, key_line, entry.first.Scalar());
      CheckNode(entry.second, file, depth + 1, num_nodes);
    }
  }
}

// What YAML 1.2 (5.1) does not allow in a stream; yaml-cpp 0.7 does not come to an end on some of it.
void CheckCharacters(std::string_view text, const std::string& file) {
  int line = 1;
  for (const char c : text) {
    line += c == '\n';
    const auto byte = static_cast<unsigned char>(c);
    FATHOM_USER_CHECK((byte >= 0x20 && byte != 0x7F) || c == '\t' || c == '\n' || c == '\r', "{}:{}: not valid YAML: the control character {:#04x}", file, line, byte);
  }
  FATHOM_USER_CHECK(IsValidUtf8(text), "{}: not valid YAML: is not UTF-8", file);
}

YAML::Node ParseNode(std::string_view text, const std::string& file) {
  CheckCharacters(text, file);
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    FATHOM_USER_CHECK(documents.size() <= 1, "{}: must be one YAML document, got {}", file, documents.size());
    YAML::Node root = documents.empty() ? YAML::Node(YAML::NodeType::Map) : documents.front();
    int64_t num_nodes = 0;
    CheckNode(root, file, 0, num_nodes);
    return root;
  } catch (const YAML::Exception& error) {
    ThrowUserError("{}:{}: not valid YAML: {}", file, error.mark.line + 1, error.msg);
  }
}

const char* KindOf(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  if (node.IsScalar()) return "a value";
  return "nothing";
}

std::string Got(const YAML::Node& node) { return node.IsScalar() ? "'" + node.Scalar() + "'" : KindOf(node); }

std::optional<int64_t> ParseIndex(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::string Joined(const std::string& path, const std::string& key) { return path.empty() ? key : path + "." + key; }

}  // namespace

struct Yaml::Node {
  YAML::Node value;
};

struct Yaml::Document {
  std::string file;
  std::set<std::string> set_paths;  // of Set, in the spelling of path_
};

Yaml::Yaml(std::shared_ptr<Document> document, std::shared_ptr<const Node> node, std::string path)
    : document_(std::move(document)), node_(std::move(node)), path_(std::move(path)) {}

Yaml Yaml::Child(const Node& node, std::string path) const {
  return Yaml(document_, std::make_shared<Node>(node), std::move(path));
}

Yaml Yaml::Parse(std::string_view text, const std::string& file) {
  YAML::Node root = ParseNode(text, file);
  if (root.IsNull()) root = YAML::Node(YAML::NodeType::Map);
  return Yaml(std::make_shared<Document>(Document{file, {}}), std::make_shared<Node>(Node{root}), "");
}

Yaml Yaml::ReadFile(const std::filesystem::path& path) { return Parse(fathom::ReadFile(path), path.string()); }

void Yaml::Set(const std::string& path, const std::string& text) {
  const std::string what = "--set " + path;
  FATHOM_USER_CHECK(!path.empty(), "--set: needs path.to.key=value, got '={}'", text);
  YAML::Node at = node_->value;  // nodes are handles: this walks the document itself
  std::string spelled;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    const std::string key = path.substr(begin, dot - begin);
    FATHOM_USER_CHECK(!key.empty(), "{}: the path has an empty part", what);
    begin = dot + 1;
    YAML::Node next;
    if (at.IsSequence()) {
      const auto index = ParseIndex(key);
      FATHOM_USER_CHECK(index && *index < static_cast<int64_t>(at.size()), "{}: '{}' must be an index below {} there", what, key, at.size());
      next.reset(at[static_cast<size_t>(*index)]);
      spelled += fmt::format("[{}]", *index);
    } else {
      FATHOM_USER_CHECK(at.IsMap() || at.IsNull(), "{}: {} is no map", what, spelled);
      next.reset(at[key]);
      if (dot != path.size() && (!next.IsDefined() || next.IsNull())) next = YAML::Node(YAML::NodeType::Map);
      spelled = Joined(spelled, key);
    }
    if (dot == path.size()) next = text.empty() ? YAML::Node() : ParseNode(text, what);
    at.reset(next);
  }
  document_->set_paths.insert(spelled);
}

bool Yaml::is_map() const { return node_->value.IsMap(); }
bool Yaml::is_list() const { return node_->value.IsSequence(); }
bool Yaml::is_scalar() const { return node_->value.IsScalar(); }
bool Yaml::is_null() const { return node_->value.IsNull(); }

std::optional<Yaml> Yaml::Find(const std::string& key) const {
  if (!is_map()) Fail("must be a map, got {}", Got(node_->value));
  const YAML::Node found = node_->value[key];
  if (!found.IsDefined() || found.IsNull()) return std::nullopt;
  return Child(Node{found}, Joined(path_, key));
}

Yaml Yaml::Get(const std::string& key) const {
  auto found = Find(key);
  if (!found) Fail("'{}' is missing", key);
  return *found;
}

std::vector<std::pair<std::string, Yaml>> Yaml::Entries() const {
  if (!is_map()) Fail("must be a map, got {}", Got(node_->value));
  std::vector<std::pair<std::string, Yaml>> entries;
  for (const auto& entry : node_->value)
    entries.emplace_back(entry.first.Scalar(), Child(Node{entry.second}, Joined(path_, entry.first.Scalar())));
  return entries;
}

void Yaml::AllowKeys(const std::vector<std::string>& known) const {
  for (const auto& [key, value] : Entries()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string nearest = NearestName(key, known);
    value.Fail("unknown key{}", nearest.empty() ? "; known are " + fmt::format("{}", fmt::join(known, ", ")) : " (did you mean '" + nearest + "'?)");
  }
}

std::vector<Yaml> Yaml::Items() const {
  if (!is_list()) Fail("must be a list, got {}", Got(node_->value));
  std::vector<Yaml> items;
  for (const auto& item : node_->value) items.push_back(Child(Node{item}, fmt::format("{}[{}]", path_, items.size())));
  return items;
}

std::string Yaml::AsString() const {
  if (!is_scalar()) Fail("must be a text, got {}", Got(node_->value));
  return node_->value.Scalar();
}

bool Yaml::AsBool() const {
  bool value = false;
  if (!is_scalar() || !YAML::convert<bool>::decode(node_->value, value)) Fail("must be true or false, got {}", Got(node_->value));
  return value;
}

int64_t Yaml::AsInt(int64_t least, int64_t most) const {
  const std::string text = is_scalar() ? node_->value.Scalar() : "";
  std::string digits;
  for (const char c : text)
    if (c != '_') digits += c;  // 1_000_000
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || value < least || value > most) {
    if (least == std::numeric_limits<int64_t>::min()) Fail("must be an integer, got {}", Got(node_->value));
    if (most == std::numeric_limits<int64_t>::max()) Fail("must be an integer from {} on, got {}", least, Got(node_->value));
    Fail("must be an integer from {} to {}, got {}", least, most, Got(node_->value));
  }
  return value;
}

double Yaml::AsNumber(double least, double most) const {
  double value = 0;
  const std::string text = is_scalar() ? node_->value.Scalar() : "";
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || value < least || value > most) {
    if (std::isinf(least)) Fail("must be a number, got {}", Got(node_->value));
    if (std::isinf(most)) Fail("must be a number from {} on, got {}", least, Got(node_->value));
    Fail("must be a number from {} to {}, got {}", least, most, Got(node_->value));
  }
  return value;
}

std::string Yaml::GetString(const std::string& key, const std::string& fallback) const {
  const auto found = Find(key);
  return found ? found->AsString() : fallback;
}
bool Yaml::GetBool(const std::string& key, bool fallback) const {
  const auto found = Find(key);
  return found ? found->AsBool() : fallback;
}
int64_t Yaml::GetInt(const std::string& key, int64_t fallback, int64_t least, int64_t most) const {
  const auto found = Find(key);
  return found ? found->AsInt(least, most) : fallback;
}
double Yaml::GetNumber(const std::string& key, double fallback, double least, double most) const {
  const auto found = Find(key);
  return found ? found->AsNumber(least, most) : fallback;
}

std::string Yaml::Where() const {
  for (const std::string& set : document_->set_paths) {
    if (path_ == set || path_.starts_with(set + ".") || path_.starts_with(set + "[")) return "--set " + path_;
  }
  const YAML::Mark mark = node_->value.Mark();
  const std::string place = mark.is_null() ? document_->file : fmt::format("{}:{}", document_->file, mark.line + 1);
  return path_.empty() ? place : place + ": " + path_;
}

std::string Yaml::Dump() const { return YAML::Dump(node_->value) + "\n"; }

}  // namespace fathom
