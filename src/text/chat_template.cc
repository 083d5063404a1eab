#include "text/chat_template.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/gguf.h"
#include "text/jinja/template.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSpecialTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// Templates of a model by name; a model with one has it as "default".
using NamedSources = std::map<std::string, std::string>;

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(const NamedSources& sources, const std::string& name, const OrderedJson& special_tokens) : special_tokens_(special_tokens) {
    const auto plain = sources.find("default");
    const auto with_tools = sources.find("tool_use");
    if (plain != sources.end()) default_.emplace(plain->second, name);
    if (with_tools != sources.end()) tool_use_.emplace(with_tools->second, name + " (tool_use)");
    if (default_ || tool_use_) return;
    std::string names;
    for (const auto& [other, source] : sources) names += (names.empty() ? "" : ", ") + other;
    ThrowUserError("{}: several chat templates and none is called default: {}", name, names);
  }

  std::string Render(const TemplateInput& input) const override {
    OrderedJson variables = OrderedJson::object();
    variables["messages"] = input.messages;
    variables["tools"] = input.tools;
    variables["documents"] = nullptr;
    variables["add_generation_prompt"] = input.add_generation_prompt;
    for (const auto& [key, value] : special_tokens_.items()) variables[key] = value;
    for (const auto& [key, value] : input.args.items()) variables[key] = value;
    const bool tools = tool_use_ && (!input.tools.is_null() || !default_);
    return tools ? tool_use_->Render(variables) : default_->Render(variables);
  }

 private:
  OrderedJson special_tokens_;
  std::optional<jinja::Template> default_;
  std::optional<jinja::Template> tool_use_;
};

// Where the templates of `path` are: the folder of its files, or a GGUF.
struct Place {
  fs::path folder;  // empty for a GGUF
  fs::path gguf;
};

Place FindPlace(const fs::path& path) {
  if (!fs::is_directory(path)) {
    if (path.extension() == ".gguf") return {{}, path};
    return {path.has_parent_path() ? path.parent_path() : fs::path("."), {}};
  }
  for (const char* file : {"tokenizer_config.json", "chat_template.jinja", "tokenizer.json"}) {
    if (fs::exists(path / file)) return {path, {}};
  }
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(path)) if (entry.path().extension() == ".gguf") found.push_back(entry.path());
  if (found.empty()) return {path, {}};
  return {{}, *std::min_element(found.begin(), found.end())};
}

OrderedJson ReadIfThere(const fs::path& path) { return fs::exists(path) ? ReadOrderedJsonFile(path) : OrderedJson::object(); }

// A special token is a string, or an object with its "content".
void CollectSpecialTokens(const OrderedJson& config, OrderedJson* tokens) {
  for (const char* name : kSpecialTokens) {
    const auto it = config.find(name);
    if (it == config.end() || tokens->contains(name)) continue;
    if (it->is_string()) (*tokens)[name] = *it;
    else if (it->is_object() && it->contains("content") && (*it)["content"].is_string()) (*tokens)[name] = (*it)["content"];
  }
}

OrderedJson FolderSpecialTokens(const fs::path& folder) {
  OrderedJson tokens = OrderedJson::object();
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const OrderedJson config = ReadIfThere(folder / file);
    FATHOM_USER_CHECK(config.is_object(), "{}: must be a JSON object", (folder / file).string());
    CollectSpecialTokens(config, &tokens);
  }
  return tokens;
}

// The templates of a folder and the file that holds the default one.
std::pair<NamedSources, fs::path> FolderSources(const fs::path& folder) {
  NamedSources sources;
  const fs::path config_path = folder / "tokenizer_config.json";
  const fs::path file_path = folder / "chat_template.jinja";
  if (fs::exists(file_path)) {
    sources["default"] = ReadFile(file_path);
    const fs::path tool_use = folder / "additional_chat_templates" / "tool_use.jinja";
    if (fs::exists(tool_use)) sources["tool_use"] = ReadFile(tool_use);
    return {sources, file_path};
  }
  const OrderedJson config = ReadIfThere(config_path);
  FATHOM_USER_CHECK(config.is_object(), "{}: must be a JSON object", config_path.string());
  const auto given = config.find("chat_template");
  if (given == config.end() || given->is_null()) return {sources, config_path};
  if (given->is_string()) {
    sources["default"] = given->get<std::string>();
    return {sources, config_path};
  }
  FATHOM_USER_CHECK(given->is_array(), "{}: chat_template must be a string or a list of {{\"name\", \"template\"}}", config_path.string());
  for (const OrderedJson& entry : *given) {
    const bool fits = entry.is_object() && entry.contains("name") && entry.contains("template") && entry["name"].is_string() &&
                      entry["template"].is_string();
    FATHOM_USER_CHECK(fits, "{}: each entry of chat_template needs the strings \"name\" and \"template\"", config_path.string());
    sources[entry["name"].get<std::string>()] = entry["template"].get<std::string>();
  }
  return {sources, config_path};
}

OrderedJson GgufSpecialTokens(const GgufHeader& header) {
  static constexpr std::pair<const char*, const char*> kKeys[] = {
      {"bos_token", "tokenizer.ggml.bos_token_id"},     {"eos_token", "tokenizer.ggml.eos_token_id"},
      {"unk_token", "tokenizer.ggml.unknown_token_id"}, {"sep_token", "tokenizer.ggml.seperator_token_id"},
      {"pad_token", "tokenizer.ggml.padding_token_id"}, {"cls_token", "tokenizer.ggml.cls_token_id"},
      {"mask_token", "tokenizer.ggml.mask_token_id"}};
  OrderedJson out = OrderedJson::object();
  if (header.Find("tokenizer.ggml.tokens") == nullptr) return out;
  const std::vector<std::string>& tokens = header.GetStrings("tokenizer.ggml.tokens");
  for (const auto& [name, key] : kKeys) {
    if (header.Find(key) == nullptr) continue;
    const int64_t id = header.GetInt(key);
    if (id >= 0 && id < static_cast<int64_t>(tokens.size())) out[name] = tokens[static_cast<size_t>(id)];
  }
  return out;
}

GgufHeader ReadGguf(const fs::path& path) {
  const MappedFile file(path);
  return ParseGgufHeader(file.bytes(), path.string());
}

NamedSources GgufSources(const GgufHeader& header) {
  NamedSources sources;
  if (header.Find("tokenizer.chat_template") != nullptr) sources["default"] = header.GetString("tokenizer.chat_template");
  if (header.Find("tokenizer.chat_template.tool_use") != nullptr) sources["tool_use"] = header.GetString("tokenizer.chat_template.tool_use");
  return sources;
}

}  // namespace

std::shared_ptr<const ChatTemplate> ChatTemplate::Load(const fs::path& path) {
  const Place place = FindPlace(path);
  if (!place.gguf.empty()) {
    const GgufHeader header = ReadGguf(place.gguf);
    const NamedSources sources = GgufSources(header);
    if (sources.empty()) return nullptr;
    return std::make_shared<JinjaChatTemplate>(sources, place.gguf.string(), GgufSpecialTokens(header));
  }
  const auto [sources, file] = FolderSources(place.folder);
  if (sources.empty()) return nullptr;
  return std::make_shared<JinjaChatTemplate>(sources, file.string(), FolderSpecialTokens(place.folder));
}

OrderedJson ChatTemplate::LoadSpecialTokens(const fs::path& path) {
  const Place place = FindPlace(path);
  return place.gguf.empty() ? FolderSpecialTokens(place.folder) : GgufSpecialTokens(ReadGguf(place.gguf));
}

std::shared_ptr<const ChatTemplate> ChatTemplate::Parse(const std::string& source, const std::string& name, const OrderedJson& special_tokens) {
  OrderedJson tokens = OrderedJson::object();
  CollectSpecialTokens(special_tokens, &tokens);
  return std::make_shared<JinjaChatTemplate>(NamedSources{{"default", source}}, name, tokens);
}

}  // namespace fathom
