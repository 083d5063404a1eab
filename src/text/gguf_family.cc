#include "text/gguf_family.h"

#include <array>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace fathom {
namespace {

constexpr const char* kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepSeekV3Split =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^)"
    "\r\n"
    R"(\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[)"
    "\r\n"
    R"(]*|\s*[)"
    "\r\n"
    R"(]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepSeekHan = "[一-龥ࠀ-一가-\uD7FF]+";

OrderedJson Split(const std::string& regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}
OrderedJson Digits() { return {{"type", "Digits"}, {"individual_digits", true}}; }
OrderedJson ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}
OrderedJson Sequence(std::vector<OrderedJson> steps) { return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}; }

constexpr std::array kNames = {"gpt-2", "llama-bpe", "qwen2", "smollm", "deepseek-v3", "deepseek-llm", "deepseek-coder"};

// What of a step decides where it splits.
std::string StepKey(const Json& step) {
  const std::string type = step.value("type", "");
  if (type == "Split" && step.contains("pattern")) {
    const std::string regex = step["pattern"].is_object() ? step["pattern"].value("Regex", "?") : "?";
    return regex.starts_with("\\s?[A-Za-z") ? kDeepSeekLlmLetters : regex;  // the same letters are spelled as characters or as numbers
  }
  if (type == "Digits") return step.value("individual_digits", false) ? "<digits>" : "<numbers>";
  if (type == "ByteLevel") return fmt::format("<bytes {} {}>", step.value("use_regex", true), step.value("add_prefix_space", true));
  return "<" + type + ">";
}

std::vector<std::string> StepKeys(const Json& pre_tokenizer) {
  if (!pre_tokenizer.is_object()) return {};
  if (pre_tokenizer.value("type", "") != "Sequence") return {StepKey(pre_tokenizer)};
  std::vector<std::string> keys;
  for (const Json& step : pre_tokenizer.value("pretokenizers", Json::array())) keys.push_back(StepKey(step));
  return keys;
}

}  // namespace

GgufFamily FamilyOfGguf(const std::string& pre) {
  if (pre == "gpt-2" || pre == "gpt2") return {.pre_tokenizer = ByteLevel(true), .normalizer = nullptr};
  if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3")
    return {.pre_tokenizer = Sequence({Split(kLlama3Split), ByteLevel(false)}), .normalizer = nullptr, .ignore_merges = true, .adds_bos = true};
  if (pre == "qwen2" || pre == "deepseek-r1-qwen")
    return {.pre_tokenizer = Sequence({Split(kQwen2Split), ByteLevel(false)}), .normalizer = {{"type", "NFC"}}};
  if (pre == "smollm") return {.pre_tokenizer = Sequence({Digits(), ByteLevel(true)}), .normalizer = nullptr};
  if (pre == "deepseek-v3")
    return {.pre_tokenizer = Sequence({Split("\\p{N}{1,3}"), Split("[一-龥぀-ゟ゠-ヿ]+"), Split(kDeepSeekV3Split), ByteLevel(false)}), .normalizer = nullptr};
  if (pre == "deepseek-llm")
    return {.pre_tokenizer = Sequence({Split("[\r\n]"), Split(kDeepSeekLlmLetters), Split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"), Split("\\s+$"), Split(kDeepSeekHan),
                                       Digits(), ByteLevel(false)}),
            .normalizer = nullptr};
  if (pre == "deepseek-coder")
    return {.pre_tokenizer = Sequence({Split("[\r\n]"), Split("\\s?\\p{L}+"), Split("\\s?\\p{P}+"), Split(kDeepSeekHan), Digits(), ByteLevel(false)}),
            .normalizer = nullptr};
  ThrowUserError("GGUF key 'tokenizer.ggml.pre': the pre-tokenizer '{}' is not supported", pre);
}

std::string FamilyNameOf(const Json& pre_tokenizer) {
  const std::vector<std::string> keys = StepKeys(pre_tokenizer);
  for (const char* name : kNames)
    if (keys == StepKeys(Json(FamilyOfGguf(name).pre_tokenizer))) return name;
  return "";
}

}  // namespace fathom
