// tokenizer.json as Hugging Face's `tokenizers` 0.2x writes it, and what of tokenizer_config.json concerns ids.
#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "text/json_object.h"
#include "text/pipeline_json.h"
#include "text/tokenizer_parts.h"

namespace fathom {
namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;

// A pair of texts, or one text with a blank between its parts.
Merges ReadMerges(const Json& json) {
  Merges merges;
  merges.reserve(json.size());
  for (const Json& merge : json) {
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const size_t blank = text.find(' ');
      FATHOM_USER_CHECK(blank != std::string::npos && text.find(' ', blank + 1) == std::string::npos,
                        "tokenizer.json: merge {} ('{}') must be two tokens with one blank between", merges.size(), text);
      merges.emplace_back(text.substr(0, blank), text.substr(blank + 1));
    } else {
      FATHOM_USER_CHECK(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
                        "tokenizer.json: merge {} must be a string or a pair of strings", merges.size());
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    }
  }
  return merges;
}

std::vector<std::pair<std::string, int32_t>> ReadVocabulary(const Json& json) {
  FATHOM_USER_CHECK(json.is_object(), "tokenizer.json: model.vocab must be an object, got {}", json.type_name());
  std::vector<std::pair<std::string, int32_t>> tokens;
  tokens.reserve(json.size());
  for (const auto& [text, id] : json.items()) {
    FATHOM_USER_CHECK(id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX,
                      "tokenizer.json: model.vocab: the id of '{}' must be an integer from 0 on", text);
    tokens.emplace_back(text, id.get<int32_t>());
  }
  return tokens;
}

BpeModel ReadModel(const Json& json, bool byte_level) {
  const JsonObject model(json, "tokenizer.json: model");
  const std::string type = model.GetString("type", "BPE");
  FATHOM_USER_CHECK(type == "BPE", "tokenizer.json: model: the type '{}' is not supported, only BPE", type);
  model.AllowKeys({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                   "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (const Json* dropout = model.Find("dropout"))
    FATHOM_USER_CHECK(dropout->is_number() && dropout->get<double>() == 0,
                      "tokenizer.json: model: a dropout other than 0 is not supported");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    FATHOM_USER_CHECK(model.GetString(key, "").empty(), "tokenizer.json: model: '{}' is not supported", key);
  BpeOptions options{.byte_level = byte_level,
                     .ignore_merges = model.GetBool("ignore_merges", false),
                     .byte_fallback = model.GetBool("byte_fallback", false),
                     .fuse_unk = model.GetBool("fuse_unk", false),
                     .unk_token = std::nullopt};
  if (model.Find("unk_token") != nullptr) options.unk_token = model.GetString("unk_token");
  return BpeModel(ReadVocabulary(model.Get("vocab")), ReadMerges(model.GetArray("merges")), options);
}

AddedToken ReadAddedToken(const Json& json) {
  const JsonObject object(json, "tokenizer.json: added_tokens");
  object.AllowKeys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken token;
  token.id = static_cast<int32_t>(object.GetInt("id", 0, INT32_MAX));
  token.content = object.GetString("content");
  token.special = object.GetBool("special", false);
  token.single_word = object.GetBool("single_word", false);
  token.lstrip = object.GetBool("lstrip", false);
  token.rstrip = object.GetBool("rstrip", false);
  token.normalized = object.GetBool("normalized", !token.special);
  return token;
}

// Ids are given as the library does on loading: the model's where it has the text, else the next free one. A file whose
// ids differ is warned of, since the library ignores them too.
std::vector<AddedToken> ReadAddedTokens(const Json* json, const BpeModel& model) {
  std::vector<AddedToken> tokens;
  if (json == nullptr) return tokens;
  FATHOM_USER_CHECK(json->is_array(), "tokenizer.json: added_tokens must be an array, got {}", json->type_name());
  std::unordered_map<std::string, int32_t> seen;
  int32_t max_id = -1;
  for (const Json& item : *json) {
    AddedToken token = ReadAddedToken(item);
    if (token.content.empty() || seen.contains(token.content)) continue;
    const int32_t said = token.id;
    token.id = model.Find(token.content);
    if (token.id < 0) token.id = max_id >= model.size() ? max_id + 1 : model.size();
    if (token.id != said)
      LogWarn("tokenizer.json: added token '{}' has id {}, it is read as {}, as Hugging Face's tokenizers does",
              token.content, said, token.id);
    max_id = std::max(max_id, token.id);
    seen.emplace(token.content, token.id);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// The ids that the post-processor puts before a single sequence. What it puts behind is for training pairs and is left out.
void ReadPostProcessor(const Json& json, std::vector<int32_t>& bos) {
  const JsonObject object(json, "tokenizer.json: post_processor");
  const std::string& type = object.GetString("type");
  if (type == "ByteLevel") {  // concerns offsets alone
    object.AllowKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    return;
  }
  if (type == "Sequence") {
    object.AllowKeys({"type", "processors"});
    for (const Json& member : object.GetArray("processors")) ReadPostProcessor(member, bos);
    return;
  }
  FATHOM_USER_CHECK(type == "TemplateProcessing", "{}: the type '{}' is not supported", object.what(), type);
  object.AllowKeys({"type", "single", "pair", "special_tokens"});
  const JsonObject special_tokens(object.Get("special_tokens"), object.what() + ".special_tokens");
  for (const Json& item : object.GetArray("single")) {
    const JsonObject piece(item, object.what() + ".single");
    piece.AllowKeys({"SpecialToken", "Sequence"});
    if (piece.Find("Sequence") != nullptr) return;
    const JsonObject reference(piece.Get("SpecialToken"), piece.what());
    const JsonObject token(special_tokens.Get(reference.GetString("id").c_str()), special_tokens.what());
    for (const Json& id : token.GetArray("ids")) {
      FATHOM_USER_CHECK(id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX, "{}: ids must be integers from 0 on",
                        special_tokens.what());
      bos.push_back(id.get<int32_t>());
    }
  }
  bos.clear();  // a template without the sequence puts nothing in front of it
}

// A token of tokenizer_config.json: a text, an object with its content, or null.
std::optional<std::string> ConfiguredToken(const JsonObject& config, const char* key) {
  const Json* value = config.Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) return JsonObject(*value, config.what() + ": " + key).GetString("content");
  return config.GetString(key);
}

int32_t IdOf(const TokenizerParts& parts, const std::string& text) {
  for (const AddedToken& token : parts.added_tokens)
    if (token.content == text) return token.id;
  return parts.model.Find(text);
}

void ReadConfig(std::string_view text, TokenizerParts& parts) {
  const Json json = text.empty() ? Json::object() : ParseJson(text, "tokenizer_config.json");
  const JsonObject config(json, "tokenizer_config.json");
  if (const auto token = ConfiguredToken(config, "bos_token")) parts.bos_id = IdOf(parts, *token);
  if (const auto token = ConfiguredToken(config, "eos_token")) parts.eos_id = IdOf(parts, *token);
  if (parts.bos_id < 0 && !parts.bos.empty()) parts.bos_id = parts.bos.front();
  parts.adds_bos = config.GetBool("add_bos_token", !parts.bos.empty());
  if (parts.bos.empty() && parts.bos_id >= 0) parts.bos = {parts.bos_id};
}

}  // namespace

TokenizerParts ReadTokenizerJson(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  const Json json = ParseJson(tokenizer_json, "tokenizer.json");
  const JsonObject root(json, "tokenizer.json");
  // Truncation and padding shape batches, not the ids of a text; transformers switches them off too.
  root.AllowKeys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                  "decoder", "model"});
  const auto value = [&](const char* key) { return root.Find(key) ? *root.Find(key) : Json(); };
  PreTokenizerJson pre_tokenizer = ReadPreTokenizer(value("pre_tokenizer"));
  TokenizerParts parts{.normalizers = ReadNormalizers(value("normalizer")),
                       .pre_tokenizer = PreTokenizer(std::move(pre_tokenizer.steps)),
                       .model = ReadModel(root.Get("model"), pre_tokenizer.byte_level),
                       .added_tokens = {},
                       .added_tokens_are_literal = false,
                       .decoder = ReadDecoder(value("decoder")),
                       .bos = {}};
  parts.added_tokens = ReadAddedTokens(root.Find("added_tokens"), parts.model);
  if (root.Find("post_processor") != nullptr) ReadPostProcessor(root.Get("post_processor"), parts.bos);
  ReadConfig(tokenizer_config_json, parts);
  return parts;
}

}  // namespace fathom
