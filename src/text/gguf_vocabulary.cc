#include "text/gguf_vocabulary.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "text/gguf_family.h"

namespace fathom {
namespace {

std::optional<int64_t> SpecialIdOf(const GgufHeader& header, const char* key, size_t num_tokens) {
  if (header.Find(key) == nullptr) return std::nullopt;
  const int64_t id = header.GetInt(key);
  if (id == -1) return std::nullopt;
  FATHOM_USER_CHECK(id >= 0 && id < static_cast<int64_t>(num_tokens), "GGUF key '{}' must be a token's id below {}, got {}", key, num_tokens, id);
  return id;
}

bool IsAdded(GgufToken type) { return type == GgufToken::kControl || type == GgufToken::kUserDefined || type == GgufToken::kUnknown; }

// "bos_token" of tokenizer_config.json: a text, or {"content": text}.
std::string TokenText(const Json& config, const char* key) {
  if (!config.is_object() || !config.contains(key)) return "";
  const Json& token = config.at(key);
  if (token.is_string()) return token.get<std::string>();
  return token.is_object() ? token.value("content", "") : "";
}

const Json& Member(const Json& json, const char* key, Json::value_t type, const char* what) {
  FATHOM_USER_CHECK(json.is_object() && json.contains(key) && json.at(key).type() == type, "tokenizer.json: {} is missing or of another kind", what);
  return json.at(key);
}

void SetToken(GgufVocabulary& vocabulary, int64_t id, const std::string& text, GgufToken type) {
  constexpr int64_t kMaxTokens = int64_t{1} << 28;
  FATHOM_USER_CHECK(id >= 0 && id < kMaxTokens, "tokenizer.json: token {} has the id {}", text, id);
  if (id >= std::ssize(vocabulary.tokens)) {
    vocabulary.tokens.resize(static_cast<size_t>(id) + 1);
    vocabulary.types.resize(static_cast<size_t>(id) + 1, GgufToken::kUnused);
  }
  vocabulary.tokens[static_cast<size_t>(id)] = text;
  vocabulary.types[static_cast<size_t>(id)] = type;
}

int64_t IdOf(const Json& id, const std::string& text) {
  FATHOM_USER_CHECK(id.is_number_integer(), "tokenizer.json: the id of token {} must be an integer, not {}", text, id.dump());
  return id.get<int64_t>();
}

std::string MergeText(const Json& merge) {
  if (merge.is_string()) return merge.get<std::string>();
  FATHOM_USER_CHECK(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(), "tokenizer.json: a merge must be two tokens, not {}",
                    merge.dump());
  return merge[0].get<std::string>() + " " + merge[1].get<std::string>();
}

// Whether the post-processor puts a token in front.
bool PutsTokenInFront(const Json& processor) {
  if (!processor.is_object()) return false;
  if (processor.value("type", "") == "Sequence") {
    const Json steps = processor.value("processors", Json::array());
    return std::any_of(steps.begin(), steps.end(), PutsTokenInFront);
  }
  if (processor.value("type", "") != "TemplateProcessing") return false;
  const Json single = processor.value("single", Json::array());
  return !single.empty() && single[0].is_object() && single[0].contains("SpecialToken");
}

std::string ChatTemplateOf(const Json& config) {
  if (!config.is_object() || !config.contains("chat_template")) return "";
  const Json& chat = config.at("chat_template");
  if (chat.is_string()) return chat.get<std::string>();
  if (!chat.is_array()) return "";
  for (const Json& named : chat)
    if (named.is_object() && named.value("name", "") == "default") return named.value("template", "");
  return "";
}

OrderedJson AddedTokenJson(int64_t id, const std::string& text, GgufToken type) {
  return {{"id", id},         {"content", text},      {"single_word", false}, {"lstrip", false},
          {"rstrip", false},  {"normalized", false},  {"special", type != GgufToken::kUserDefined}};
}

OrderedJson PostProcessor(const GgufVocabulary& vocabulary) {
  const OrderedJson bytes = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  if (!vocabulary.add_bos || !vocabulary.bos_id) return bytes;
  const std::string bos = vocabulary.tokens[static_cast<size_t>(*vocabulary.bos_id)];
  const auto special = [&](int type_id) { return OrderedJson{{"SpecialToken", {{"id", bos}, {"type_id", type_id}}}}; };
  const auto sequence = [](const char* id, int type_id) { return OrderedJson{{"Sequence", {{"id", id}, {"type_id", type_id}}}}; };
  OrderedJson tokens = OrderedJson::object();
  tokens[bos] = {{"id", bos}, {"ids", {*vocabulary.bos_id}}, {"tokens", {bos}}};
  const OrderedJson in_front = {{"type", "TemplateProcessing"},
                                {"single", OrderedJson::array({special(0), sequence("A", 0)})},
                                {"pair", OrderedJson::array({special(0), sequence("A", 0), special(1), sequence("B", 1)})},
                                {"special_tokens", tokens}};
  return {{"type", "Sequence"}, {"processors", OrderedJson::array({bytes, in_front})}};
}

GgufVocabulary ReadHub(const Json& tokenizer, const Json& tokenizer_config, const std::string& chat_template, int64_t vocab_size) {
  const Json& model = Member(tokenizer, "model", Json::value_t::object, "model");
  const Json pre_tokenizer = tokenizer.value("pre_tokenizer", Json());
  GgufVocabulary vocabulary;
  vocabulary.pre = FamilyNameOf(pre_tokenizer);
  FATHOM_USER_CHECK(model.value("type", "BPE") == "BPE" && !model.value("byte_fallback", false) && !vocabulary.pre.empty(),
                    "tokenizer.json: its pre-tokenizer is none of the families that GGUF names (gpt-2, llama-bpe, qwen2, smollm, deepseek-v3, deepseek-llm, "
                    "deepseek-coder)");
  for (const auto& [text, id] : Member(model, "vocab", Json::value_t::object, "model.vocab").items()) SetToken(vocabulary, IdOf(id, text), text, GgufToken::kNormal);
  for (const Json& merge : Member(model, "merges", Json::value_t::array, "model.merges")) vocabulary.merges.push_back(MergeText(merge));
  std::map<std::string, int64_t> added_ids;
  for (const Json& added : tokenizer.value("added_tokens", Json::array())) {
    FATHOM_USER_CHECK(added.is_object() && added.contains("content") && added.contains("id") && added["content"].is_string(), "tokenizer.json: an added token must have id and content, not {}",
                      added.dump());
    const std::string text = added["content"].get<std::string>();
    const int64_t id = IdOf(added["id"], text);
    SetToken(vocabulary, id, text, added.value("special", false) ? GgufToken::kControl : GgufToken::kUserDefined);
    added_ids[text] = id;
  }
  for (int64_t id = 0; id < std::max<int64_t>(vocab_size, std::ssize(vocabulary.tokens)); ++id)
    if (id >= std::ssize(vocabulary.tokens) || (vocabulary.types[static_cast<size_t>(id)] == GgufToken::kUnused))
      SetToken(vocabulary, id, fmt::format("[PAD{}]", id), GgufToken::kUnused);
  const auto find = [&](const char* key) -> std::optional<int64_t> {
    const auto found = added_ids.find(TokenText(tokenizer_config, key));
    return found == added_ids.end() ? std::nullopt : std::optional(found->second);
  };
  vocabulary.bos_id = find("bos_token");
  vocabulary.eos_id = find("eos_token");
  vocabulary.pad_id = find("pad_token");
  vocabulary.unk_id = find("unk_token");
  // The post-processor decides what `tokenizers` puts in front; classes that build it from the flag have the flag in the configuration.
  const bool flag = tokenizer_config.is_object() && tokenizer_config.contains("add_bos_token") && tokenizer_config.at("add_bos_token") == true;
  vocabulary.add_bos = vocabulary.bos_id.has_value() && (flag || PutsTokenInFront(tokenizer.value("post_processor", Json())));
  vocabulary.chat_template = chat_template.empty() ? ChatTemplateOf(tokenizer_config) : chat_template;
  return vocabulary;
}

}  // namespace

GgufVocabulary VocabularyFromGguf(const GgufHeader& header) {
  const std::string& kind = header.GetString("tokenizer.ggml.model");
  FATHOM_USER_CHECK(kind == "gpt2", "GGUF key 'tokenizer.ggml.model': the kind '{}' is not supported, only gpt2 (byte-level BPE)", kind);
  GgufVocabulary vocabulary;
  vocabulary.pre = header.Find("tokenizer.ggml.pre") != nullptr ? header.GetString("tokenizer.ggml.pre") : "gpt-2";
  vocabulary.tokens = header.GetStrings("tokenizer.ggml.tokens");
  vocabulary.merges = header.GetStrings("tokenizer.ggml.merges");
  const auto& types = header.GetInts("tokenizer.ggml.token_type");
  FATHOM_USER_CHECK(types.size() == vocabulary.tokens.size(), "GGUF: {} tokens but {} token types", vocabulary.tokens.size(), types.size());
  for (const int64_t type : types) {
    FATHOM_USER_CHECK(type >= 1 && type <= 6, "GGUF key 'tokenizer.ggml.token_type': {} is no type (1 to 6 are)", type);
    vocabulary.types.push_back(static_cast<GgufToken>(type));
  }
  const size_t n = vocabulary.tokens.size();
  vocabulary.bos_id = SpecialIdOf(header, "tokenizer.ggml.bos_token_id", n);
  vocabulary.eos_id = SpecialIdOf(header, "tokenizer.ggml.eos_token_id", n);
  vocabulary.pad_id = SpecialIdOf(header, "tokenizer.ggml.padding_token_id", n);
  vocabulary.unk_id = SpecialIdOf(header, "tokenizer.ggml.unknown_token_id", n);
  const GgufValue* add_bos = header.Find("tokenizer.ggml.add_bos_token");
  FATHOM_USER_CHECK(add_bos == nullptr || std::holds_alternative<bool>(*add_bos), "GGUF key 'tokenizer.ggml.add_bos_token' must be a bool");
  vocabulary.add_bos = add_bos != nullptr ? std::get<bool>(*add_bos) : FamilyOfGguf(vocabulary.pre).adds_bos;
  if (header.Find("tokenizer.chat_template") != nullptr) vocabulary.chat_template = header.GetString("tokenizer.chat_template");
  return vocabulary;
}

GgufVocabulary VocabularyFromHub(const Json& tokenizer, const Json& tokenizer_config, const std::string& chat_template, int64_t vocab_size) {
  try {
    return ReadHub(tokenizer, tokenizer_config, chat_template, vocab_size);
  } catch (const nlohmann::json::exception& e) {  // a value of another kind than its key has
    std::string cause = e.what();
    if (const auto end = cause.find("] "); end != std::string::npos) cause = cause.substr(end + 2);
    ThrowUserError("tokenizer.json or tokenizer_config.json: {}", cause);
  }
}

OrderedJson HubTokenizer(const GgufVocabulary& vocabulary) {
  const GgufFamily family = FamilyOfGguf(vocabulary.pre);
  OrderedJson vocab = OrderedJson::object(), added = OrderedJson::array(), merges = OrderedJson::array();
  // Keys are appended by hand: ordered_json's operator[] looks every one up from the front.
  auto& entries = vocab.get_ref<OrderedJson::object_t&>();
  std::set<std::string_view> known;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& text = vocabulary.tokens[id];
    if (!known.insert(text).second) {
      LogWarn("token {} has the text of another ('{}') and is left out of tokenizer.json", id, text);
      continue;
    }
    entries.push_back({text, OrderedJson(id)});
    if (IsAdded(vocabulary.types[id])) added.push_back(AddedTokenJson(static_cast<int64_t>(id), text, vocabulary.types[id]));
  }
  for (const std::string& merge : vocabulary.merges) {
    const size_t blank = merge.find(' ', 1);
    FATHOM_USER_CHECK(blank != std::string::npos && blank + 1 < merge.size(), "GGUF key 'tokenizer.ggml.merges': '{}' must be two tokens with a blank between", merge);
    const std::string left = merge.substr(0, blank), right = merge.substr(blank + 1);
    // `tokenizers` refuses a merge whose parts or result are no tokens; such a merge never applies.
    if (known.contains(left) && known.contains(right) && known.contains(left + right)) merges.push_back(merge);
  }
  OrderedJson json;
  json["version"] = "1.0";
  json["truncation"] = json["padding"] = nullptr;
  json["added_tokens"] = std::move(added);
  json["normalizer"] = family.normalizer;
  json["pre_tokenizer"] = family.pre_tokenizer;
  json["post_processor"] = PostProcessor(vocabulary);
  json["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  json["model"] = {{"type", "BPE"},          {"dropout", nullptr},     {"unk_token", nullptr},     {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", family.ignore_merges},
                   {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
  return json;
}

OrderedJson HubTokenizerConfig(const GgufVocabulary& vocabulary, int64_t context) {
  OrderedJson json;
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  const auto add = [&](const char* key, const std::optional<int64_t>& id) {
    if (id) json[key] = vocabulary.tokens[static_cast<size_t>(*id)];
  };
  add("bos_token", vocabulary.bos_id);
  add("eos_token", vocabulary.eos_id);
  add("pad_token", vocabulary.pad_id);
  add("unk_token", vocabulary.unk_id);
  json["add_bos_token"] = vocabulary.add_bos;
  json["add_eos_token"] = false;
  json["clean_up_tokenization_spaces"] = false;
  json["model_max_length"] = context;
  if (!vocabulary.chat_template.empty()) json["chat_template"] = vocabulary.chat_template;
  return json;
}

}  // namespace fathom
