#include "text/pipeline_json.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "text/json_object.h"

namespace fathom {
namespace {

// Members of a Sequence are read by the same function; sequences in sequences are flattened.
template <typename ReadOne>
void ForEachInSequence(const JsonObject& object, const char* key, ReadOne read) {
  object.AllowKeys({"type", key});
  for (const Json& member : object.GetArray(key)) read(member);
}

[[noreturn]] void RefuseType(const JsonObject& object) {
  ThrowUserError("{}: the type '{}' is not supported", object.what(), object.GetString("type"));
}

// {"String": text} or {"Regex": pattern}.
std::unique_ptr<SplitPattern> ReadPattern(const Json& json, const std::string& what) {
  const JsonObject pattern(json, what + ".pattern");
  pattern.AllowKeys({"String", "Regex"});
  const bool is_text = pattern.Find("String") != nullptr;
  FATHOM_USER_CHECK(is_text != (pattern.Find("Regex") != nullptr), "{}: needs one of 'String' and 'Regex'", pattern.what());
  return is_text ? SplitPattern::FromText(pattern.GetString("String"))
                 : SplitPattern::FromRegex(pattern.GetString("Regex"));
}

void ReadNormalizer(const Json& json, std::vector<std::unique_ptr<Normalizer>>& out) {
  const JsonObject object(json, "tokenizer.json: normalizer");
  const std::string& type = object.GetString("type");
  if (type == "Sequence") {
    ForEachInSequence(object, "normalizers", [&](const Json& member) { ReadNormalizer(member, out); });
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    object.AllowKeys({"type"});
    out.push_back(MakeUnicodeNormalizer(type == "NFC"   ? UnicodeForm::kNfc
                                        : type == "NFD" ? UnicodeForm::kNfd
                                        : type == "NFKC" ? UnicodeForm::kNfkc
                                                         : UnicodeForm::kNfkd));
  } else if (type == "Lowercase") {
    object.AllowKeys({"type"});
    out.push_back(MakeLowercase());
  } else if (type == "Strip") {
    object.AllowKeys({"type", "strip_left", "strip_right"});
    out.push_back(MakeStrip(object.GetBool("strip_left", true), object.GetBool("strip_right", true)));
  } else if (type == "Prepend") {
    object.AllowKeys({"type", "prepend"});
    out.push_back(MakePrepend(object.GetString("prepend")));
  } else if (type == "Replace") {
    object.AllowKeys({"type", "pattern", "content"});
    out.push_back(MakeReplace(ReadPattern(object.Get("pattern"), object.what()), object.GetString("content")));
  } else {
    RefuseType(object);
  }
}

SplitBehavior ReadBehavior(const JsonObject& object) {
  const std::string behavior = object.GetString("behavior", "Isolated");
  if (behavior == "Isolated") return SplitBehavior::kIsolated;
  if (behavior == "Removed") return SplitBehavior::kRemoved;
  if (behavior == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (behavior == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (behavior == "Contiguous") return SplitBehavior::kContiguous;
  ThrowUserError("{}: the behavior '{}' is not supported", object.what(), behavior);
}

void AddByteLevel(const JsonObject& object, PreTokenizerJson& out) {
  object.AllowKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  object.GetBool("trim_offsets", true);  // concerns offsets alone
  if (object.GetBool("add_prefix_space", true)) out.steps.emplace_back(std::in_place_type<PrefixSpaceStep>);
  if (object.GetBool("use_regex", true)) AddSplit(out.steps, kGpt2Regex);
  out.byte_level = true;
}

// replacement and when it is put in front; older files say add_prefix_space instead of prepend_scheme.
MetaspaceStep ReadMetaspace(const JsonObject& object) {
  object.AllowKeys({"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  MetaspaceStep step;
  step.replacement = object.GetString("replacement", "\u2581");
  FATHOM_USER_CHECK(!step.replacement.empty() && IsValidUtf8(step.replacement) &&
                        DecodeUtf8(step.replacement).num_bytes == step.replacement.size(),
                    "{}: 'replacement' must be one character, got '{}'", object.what(), step.replacement);
  const std::string scheme = object.GetString("prepend_scheme", object.GetBool("add_prefix_space", true) ? "always" : "never");
  if (scheme == "always")
    step.prepend = MetaspaceStep::Prepend::kAlways;
  else if (scheme == "first")
    step.prepend = MetaspaceStep::Prepend::kFirst;
  else if (scheme == "never")
    step.prepend = MetaspaceStep::Prepend::kNever;
  else
    ThrowUserError("{}: the prepend_scheme '{}' is not supported", object.what(), scheme);
  step.split = object.GetBool("split", true);
  step.pattern = SplitPattern::FromText(step.replacement);
  return step;
}

void ReadPreTokenizerStep(const Json& json, PreTokenizerJson& out) {
  const JsonObject object(json, "tokenizer.json: pre_tokenizer");
  const std::string& type = object.GetString("type");
  FATHOM_USER_CHECK(!out.byte_level, "{}: '{}' behind ByteLevel is not supported", object.what(), type);
  if (type == "Sequence") {
    ForEachInSequence(object, "pretokenizers", [&](const Json& member) { ReadPreTokenizerStep(member, out); });
  } else if (type == "Split") {
    object.AllowKeys({"type", "pattern", "behavior", "invert"});
    out.steps.emplace_back(SplitStep{ReadPattern(object.Get("pattern"), object.what()), ReadBehavior(object),
                                     object.GetBool("invert", false)});
  } else if (type == "Digits") {
    object.AllowKeys({"type", "individual_digits"});
    AddDigits(out.steps, object.GetBool("individual_digits", false));
  } else if (type == "Punctuation") {
    object.AllowKeys({"type", "behavior"});
    out.steps.emplace_back(SplitStep{
        MakeRunPattern({.prefix = {}, .body = CodePointSet::PunctuationMarks(), .max_count = 1}), ReadBehavior(object)});
  } else if (type == "WhitespaceSplit") {
    object.AllowKeys({"type"});
    out.steps.emplace_back(SplitStep{MakeRunPattern({.prefix = {}, .body = CodePointSet::Space(), .max_count = 1}),
                                     SplitBehavior::kRemoved});
  } else if (type == "Metaspace") {
    out.steps.emplace_back(ReadMetaspace(object));
  } else if (type == "ByteLevel") {
    AddByteLevel(object, out);
  } else {
    RefuseType(object);
  }
}

StripDecoder ReadStripDecoder(const JsonObject& object) {
  object.AllowKeys({"type", "content", "start", "stop"});
  StripDecoder step;
  step.character = object.GetString("content");
  FATHOM_USER_CHECK(!step.character.empty(), "{}: 'content' must not be empty", object.what());
  step.start = static_cast<size_t>(object.GetInt("start", 0, 1 << 20));
  step.stop = static_cast<size_t>(object.GetInt("stop", 0, 1 << 20));
  return step;
}

void ReadDecoderStep(const Json& json, std::vector<DecoderStep>& out) {
  const JsonObject object(json, "tokenizer.json: decoder");
  const std::string& type = object.GetString("type");
  if (type == "Sequence") {
    ForEachInSequence(object, "decoders", [&](const Json& member) { ReadDecoderStep(member, out); });
  } else if (type == "ByteLevel") {
    object.AllowKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    out.emplace_back(ByteLevelDecoder{});
  } else if (type == "Metaspace") {
    const MetaspaceStep step = ReadMetaspace(object);
    out.emplace_back(MetaspaceDecoder{step.replacement, step.prepend != MetaspaceStep::Prepend::kNever});
  } else if (type == "ByteFallback") {
    object.AllowKeys({"type"});
    out.emplace_back(ByteFallbackDecoder{});
  } else if (type == "Fuse") {
    object.AllowKeys({"type"});
    out.emplace_back(FuseDecoder{});
  } else if (type == "Replace") {
    object.AllowKeys({"type", "pattern", "content"});
    out.emplace_back(ReplaceDecoder{ReadPattern(object.Get("pattern"), object.what()), object.GetString("content")});
  } else if (type == "Strip") {
    out.emplace_back(ReadStripDecoder(object));
  } else {
    RefuseType(object);
  }
}

}  // namespace

void AddSplit(std::vector<PreTokenizerStep>& steps, const std::string& regex) {
  steps.emplace_back(SplitStep{SplitPattern::FromRegex(regex), SplitBehavior::kIsolated, false});
}

void AddDigits(std::vector<PreTokenizerStep>& steps, bool individual) {
  steps.emplace_back(SplitStep{
      MakeRunPattern({.prefix = {}, .body = CodePointSet::Numeric(), .max_count = individual ? 1u : 0u}),
      SplitBehavior::kIsolated, false});
}

std::vector<std::unique_ptr<Normalizer>> ReadNormalizers(const Json& json) {
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  if (!json.is_null()) ReadNormalizer(json, normalizers);
  return normalizers;
}

PreTokenizerJson ReadPreTokenizer(const Json& json) {
  PreTokenizerJson out;
  if (!json.is_null()) ReadPreTokenizerStep(json, out);
  return out;
}

std::vector<DecoderStep> ReadDecoder(const Json& json) {
  std::vector<DecoderStep> steps;
  if (json.is_null())
    steps.emplace_back(JoinDecoder{});
  else
    ReadDecoderStep(json, steps);
  return steps;
}

}  // namespace fathom
