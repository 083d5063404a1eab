// fathom convert: a checkpoint into Hugging Face's layout or a GGUF file. Weights stream from file to file; none is held whole.
#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/dtype_names.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/hub_export.h"
#include "checkpoint/output_folder.h"
#include "checkpoint/weight_source.h"
#include "cli/arguments.h"
#include "cli/json_output.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"
#include "text/gguf_vocabulary.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

struct ConvertFlags {
  std::string in, out, format = "hf", max_shard_size = "5GB";
};

// "5GB", "500MB", "1GiB", "1.5GB" or a number of bytes.
int64_t ParseSize(const std::string& text) {
  constexpr std::pair<const char*, double> kUnits[] = {{"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
  std::string number = text;
  double unit = 1;
  for (const auto& [name, factor] : kUnits) {
    if (!text.ends_with(name)) continue;
    number = text.substr(0, text.size() - std::string(name).size());
    unit = factor;
    break;
  }
  double value = 0;
  try {
    size_t used = 0;
    value = std::stod(number, &used);
    if (used != number.size()) value = 0;
  } catch (const std::exception&) {
    value = 0;
  }
  FATHOM_USER_CHECK(std::isfinite(value) && value * unit >= 1 && value * unit < 9e18, "--max-shard-size must be a size such as 5GB, 500MB or 1GiB, got '{}'", text);
  return static_cast<int64_t>(value * unit);
}

void WriteText(const fs::path& path, const std::string& text) {
  OutputFile file(path);
  file.Write(text);
  file.Close();
}

// The files of a tokenizer and what generation reads, as they stand.
void CopyTokenizerFiles(const fs::path& from, const fs::path& to) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model",
                           "chat_template.jinja", "chat_template.json", "generation_config.json"}) {
    if (fs::is_regular_file(from / name)) WriteText(to / name, ReadFile(from / name));
  }
}

Json GenerationConfig(const ModelConfig& config) {
  Json json = Json::object();
  if (config.bos_token_id) json["bos_token_id"] = *config.bos_token_id;
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids.front();
  else if (!config.eos_token_ids.empty()) json["eos_token_id"] = config.eos_token_ids;
  return json;
}

void WriteTokenizerOfGguf(const Checkpoint& checkpoint, const fs::path& folder) {
  WriteText(folder / "generation_config.json", GenerationConfig(checkpoint.config).dump(2) + "\n");
  if (checkpoint.gguf->Find("tokenizer.ggml.tokens") == nullptr) return LogWarn("{} has no tokenizer; none is written", checkpoint.path.string());
  const GgufVocabulary vocabulary = VocabularyFromGguf(*checkpoint.gguf);
  try {
    WriteText(folder / "tokenizer.json", HubTokenizer(vocabulary).dump(2) + "\n");
    WriteText(folder / "tokenizer_config.json", HubTokenizerConfig(vocabulary, checkpoint.config.max_position_embeddings).dump(2) + "\n");
  } catch (const nlohmann::json::exception&) {  // JSON cannot hold other bytes
    ThrowUserError("{}: a token, merge or template of its tokenizer is not UTF-8", checkpoint.path.string());
  }
}

void ConvertToHub(const Checkpoint& checkpoint, const std::vector<WeightSource>& sources, at::ScalarType dtype, const ConvertFlags& flags) {
  OutputFolder folder(flags.out);
  const HubExport planned = PlanHubExport(checkpoint.config, sources, dtype);
  WriteHubExport(planned, folder, ParseSize(flags.max_shard_size));
  if (checkpoint.is_gguf) WriteTokenizerOfGguf(checkpoint, folder.path());
  else CopyTokenizerFiles(checkpoint.path, folder.path());
  folder.Commit();
}

GgufVocabulary VocabularyOf(const Checkpoint& checkpoint) {
  if (checkpoint.is_gguf) {
    if (checkpoint.gguf->Find("tokenizer.ggml.tokens") == nullptr) return {};
    return VocabularyFromGguf(*checkpoint.gguf);
  }
  const fs::path& folder = checkpoint.path;
  if (!fs::exists(folder / "tokenizer.json")) return {};
  const Json config = fs::exists(folder / "tokenizer_config.json") ? ReadJsonFile(folder / "tokenizer_config.json") : Json();
  const std::string chat_template = fs::exists(folder / "chat_template.jinja") ? ReadFile(folder / "chat_template.jinja") : "";
  return VocabularyFromHub(ReadJsonFile(folder / "tokenizer.json"), config, chat_template, checkpoint.config.vocab_size);
}

void AddVocabulary(const GgufVocabulary& vocabulary, GgufMetadata& metadata) {
  if (vocabulary.tokens.empty()) {
    metadata.AddString("tokenizer.ggml.model", "no_vocab");
    return;
  }
  metadata.AddString("tokenizer.ggml.model", "gpt2");
  metadata.AddString("tokenizer.ggml.pre", vocabulary.pre);
  metadata.AddStrings("tokenizer.ggml.tokens", vocabulary.tokens);
  std::vector<int32_t> types;
  for (const GgufToken type : vocabulary.types) types.push_back(static_cast<int32_t>(type));
  metadata.AddInts("tokenizer.ggml.token_type", types);
  metadata.AddStrings("tokenizer.ggml.merges", vocabulary.merges);
  const auto add = [&](const char* key, const std::optional<int64_t>& id) {
    if (id) metadata.AddUnsigned(key, static_cast<uint32_t>(*id));
  };
  add("tokenizer.ggml.bos_token_id", vocabulary.bos_id);
  add("tokenizer.ggml.eos_token_id", vocabulary.eos_id);
  add("tokenizer.ggml.padding_token_id", vocabulary.pad_id);
  add("tokenizer.ggml.unknown_token_id", vocabulary.unk_id);
  metadata.AddBool("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  if (!vocabulary.chat_template.empty()) metadata.AddString("tokenizer.chat_template", vocabulary.chat_template);
}

void ConvertToGguf(const Checkpoint& checkpoint, const std::vector<WeightSource>& sources, at::ScalarType dtype, const ConvertFlags& flags) {
  const std::string name = checkpoint.is_gguf ? checkpoint.path.stem().string() : fs::absolute(checkpoint.path).lexically_normal().filename().string();
  GgufExport planned = PlanGgufExport(checkpoint.config, sources, dtype, name);
  AddVocabulary(VocabularyOf(checkpoint), planned.metadata);
  WriteGguf(planned, flags.out);
}

int RunConvert(const ConvertFlags& flags, const CommonOptions& common) {
  FATHOM_USER_CHECK(!flags.in.empty() && !flags.out.empty(), "`fathom convert IN OUT` needs a model and where it goes, got {}", flags.in.empty() ? "neither" : "no OUT");
  FATHOM_USER_CHECK(flags.format == "hf" || flags.format == "gguf", "--format must be hf or gguf, got '{}'", flags.format);
  ParseSize(flags.max_shard_size);
  const Checkpoint checkpoint = Checkpoint::Open(ResolveModelPath(flags.in));
  const std::vector<WeightSource> sources = FindSources(checkpoint);
  const at::ScalarType dtype = ResolveDtype(common.dtype, checkpoint);
  if (flags.format == "hf") ConvertToHub(checkpoint, sources, dtype, flags);
  else ConvertToGguf(checkpoint, sources, dtype, flags);
  if (common.json) PrintJson(OrderedJson{{"out", flags.out}, {"format", flags.format}, {"dtype", TorchName(dtype)}});
  else std::printf("%s is written in %s\n", flags.out.c_str(), TorchName(dtype).c_str());
  return 0;
}

}  // namespace

VerbFunction AddConvert(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<ConvertFlags>();
  CLI::App* verb = app.add_subcommand("convert", "a checkpoint into Hugging Face's layout or a GGUF file");
  verb->add_option("in", flags->in, "a folder, a .gguf file or a name of `fathom models`")->type_name("");
  verb->add_option("out", flags->out, "a new folder, or a new file with --format gguf")->type_name("");
  AddText(*verb, "--format", flags->format, "hf or gguf (hf)");
  AddText(*verb, "--max-shard-size", flags->max_shard_size, "of model-*.safetensors (5GB)");
  AddCommonOptions(*verb, common, kJsonFlag);
  verb->footer("Examples:\n  fathom convert model.gguf model-hf --dtype bf16\n  fathom convert DeepSeek-V2-Lite lite.gguf --format gguf --dtype fp16");
  return [flags, &common] { return RunConvert(*flags, common); };
}

}  // namespace fathom
