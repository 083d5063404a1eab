// fathom inspect: what a checkpoint is, from its headers alone.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/weight_source.h"
#include "cli/json_output.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"
#include "model/config.h"
#include "model/weight_table.h"

namespace fathom {
namespace {

struct InspectFlags {
  std::string path;
  bool all_weights = false;
};

// What is known of one weight: from the files, or from the configuration alone (then in the configuration's type).
struct WeightLine {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype;
  int64_t num_bytes = 0;
};

// The type that a weight has in files of this configuration.
std::pair<std::string, int64_t> ConfiguredType(const ModelConfig& config, const WeightSpec& spec) {
  if (spec.keep_float32) return {"F32", 4};
  if (config.quantization && spec.kind == WeightKind::kLinear && spec.role != WeightRole::kMtpProjection) return {"F8_E4M3", 1};
  if (config.dtype == "float32") return {"F32", 4};
  return {config.dtype == "float16" ? "F16" : "BF16", 2};
}

std::vector<WeightLine> ListLines(const Checkpoint& checkpoint) {
  std::vector<WeightLine> lines;
  if (checkpoint.files != nullptr) {
    for (const WeightSource& source : FindSources(checkpoint))
      if (source.read) lines.push_back({source.spec.name, source.spec.shape, source.dtype_name, source.num_bytes});
    return lines;
  }
  for (const WeightSpec& spec : ListWeights(checkpoint.config)) {
    if (!spec.tied_to.empty()) continue;
    const auto [dtype, size] = ConfiguredType(checkpoint.config, spec);
    int64_t numel = 1;
    for (const int64_t n : spec.shape) numel *= n;
    lines.push_back({spec.name, spec.shape, dtype, numel * size});
  }
  return lines;
}

Json ArchitectureName(const ModelConfig& config) { return ToHubJson(config).at("architectures").at(0); }

// Of one token's keys and values in all layers.
int64_t CacheBytesPerToken(const Checkpoint& checkpoint, CacheFormat format) {
  return checkpoint.config.num_hidden_layers * CacheBytesPerTokenPerLayer(checkpoint.config, ResolveDtype("auto", checkpoint), format);
}

// Whether the cache can be kept in FP8.
bool HasFp8Cache(const ModelConfig& config) {
  try {
    CheckCacheFormat(config, CacheFormat::kFp8);
    return true;
  } catch (const UserError&) {
    return false;
  }
}

void PrintInventoryJson(const Checkpoint& checkpoint, const std::vector<WeightLine>& lines) {
  const ParameterCount count = CountParameters(checkpoint.config);
  int64_t num_bytes = 0;
  OrderedJson weights = OrderedJson::array();
  for (const WeightLine& line : lines) {
    num_bytes += line.num_bytes;
    weights.push_back({{"name", line.name}, {"shape", line.shape}, {"dtype", line.dtype}});
  }
  OrderedJson json;
  json["architecture"] = ArchitectureName(checkpoint.config).get<std::string>();
  json["parameters"] = {{"total", count.total}, {"active", count.active}, {"mtp", count.mtp}};
  json["bytes"] = num_bytes;
  json["kv"] = {{"values_per_token_per_layer", checkpoint.config.kv_values_per_token_per_layer()}, {"bytes_per_token", CacheBytesPerToken(checkpoint, CacheFormat::kModel)}};
  if (HasFp8Cache(checkpoint.config)) json["kv"]["bytes_per_token_fp8"] = CacheBytesPerToken(checkpoint, CacheFormat::kFp8);
  json["weights"] = std::move(weights);
  PrintJson(json);
}

std::string Count(int64_t n) {
  const double value = static_cast<double>(n);
  if (n >= 1'000'000'000) return fmt::format("{:.2f}B", value / 1e9);
  if (n >= 1'000'000) return fmt::format("{:.2f}M", value / 1e6);
  return fmt::format("{}", n);
}

std::string Bytes(int64_t n) {
  const double value = static_cast<double>(n);
  if (n >= 1'000'000'000) return fmt::format("{:.2f} GB", value / 1e9);
  if (n >= 1'000'000) return fmt::format("{:.1f} MB", value / 1e6);
  if (n >= 10'000) return fmt::format("{:.1f} kB", value / 1e3);
  return fmt::format("{} bytes", n);
}

void PrintRow(const std::string& name, const std::string& value) { fmt::print("  {:<12} {}\n", name, value); }

std::string DescribeAttention(const ModelConfig& config) {
  if (!config.has_mla())
    return fmt::format("{} heads of {}, {} of keys and values", config.num_attention_heads, config.head_dim, config.num_key_value_heads);
  return fmt::format("MLA: {} heads of {} + {} rotated, latent of {}{}", config.num_attention_heads, config.qk_nope_head_dim, config.qk_rope_head_dim,
                     config.kv_lora_rank, config.has_indexer() ? fmt::format("; the indexer picks {} keys", config.index_topk) : "");
}

std::string DescribeFeedForward(const ModelConfig& config) {
  if (config.n_routed_experts == 0) return fmt::format("{} wide", config.intermediate_size);
  return fmt::format("{} of {} experts {} wide, {} shared; the first {} layers dense, {} wide", config.num_experts_per_tok, config.n_routed_experts,
                     config.moe_intermediate_size, config.n_shared_experts, config.first_k_dense_replace, config.intermediate_size);
}

// One line a type: how many weights, how many bytes.
void PrintTypes(const std::vector<WeightLine>& lines) {
  std::map<std::string, std::pair<int64_t, int64_t>> types;
  int64_t total = 0;
  for (const WeightLine& line : lines) {
    types[line.dtype].first += 1;
    types[line.dtype].second += line.num_bytes;
    total += line.num_bytes;
  }
  std::string text;
  for (const auto& [dtype, counted] : types) text += fmt::format("{}{} {} ({})", text.empty() ? "" : ", ", counted.first, dtype, Bytes(counted.second));
  PrintRow("weights", fmt::format("{} tensors, {}: {}", lines.size(), Bytes(total), text));
}

// Layers of one kind have the same weights: prints each run of them once, unless all are asked for.
void PrintWeights(const Checkpoint& checkpoint, const std::vector<WeightLine>& lines, bool all) {
  fmt::print("\n");
  std::map<std::string, int64_t> times;
  std::vector<std::pair<std::string, const WeightLine*>> shown;
  for (const WeightLine& line : lines) {
    std::string pattern;
    for (size_t i = 0; i < line.name.size(); ++i) {
      const bool is_number = std::isdigit(static_cast<unsigned char>(line.name[i])) && i > 0 && line.name[i - 1] == '.';
      if (!is_number || all) {
        pattern += line.name[i];
        continue;
      }
      pattern += '*';
      while (i + 1 < line.name.size() && std::isdigit(static_cast<unsigned char>(line.name[i + 1]))) ++i;
    }
    const std::string key = fmt::format("{} [{}] {}", pattern, fmt::join(line.shape, ", "), line.dtype);
    if (times[key]++ == 0) shown.emplace_back(key, &line);
  }
  for (const auto& [key, line] : shown) fmt::print("  {}{}\n", key, times[key] > 1 ? fmt::format("  x {}", times[key]) : "");
}

void PrintText(const Checkpoint& checkpoint, const std::vector<WeightLine>& lines, bool all_weights) {
  const ModelConfig& config = checkpoint.config;
  const ParameterCount count = CountParameters(config);
  fmt::print("{}\n", checkpoint.path.string());
  PrintRow("architecture", ArchitectureName(config).get<std::string>());
  std::string parameters = Count(count.total);
  if (count.active != count.total) parameters += fmt::format(", {} active a token", Count(count.active));
  if (count.mtp > 0) parameters += fmt::format(", and {} in its MTP module", Count(count.mtp));
  PrintRow("parameters", parameters);
  PrintRow("layers", fmt::format("{} of width {}, vocabulary {}, context {}", config.num_hidden_layers, config.hidden_size, config.vocab_size,
                                 config.context_length()));
  PrintRow("attention", DescribeAttention(config));
  PrintRow("feed-forward", DescribeFeedForward(config));
  std::string cache = fmt::format("{} values a token a layer, {} a token", config.kv_values_per_token_per_layer(),
                                  Bytes(CacheBytesPerToken(checkpoint, CacheFormat::kModel)));
  if (HasFp8Cache(config)) cache += fmt::format(", {} with --kv-cache-dtype fp8", Bytes(CacheBytesPerToken(checkpoint, CacheFormat::kFp8)));
  PrintRow("cache", cache);
  if (checkpoint.files == nullptr) fmt::print("  (no weights here: the rest follows from the configuration)\n");
  PrintTypes(lines);
  PrintWeights(checkpoint, lines, all_weights);
}

int RunInspect(const InspectFlags& flags, const CommonOptions& common) {
  FATHOM_USER_CHECK(flags.path.empty() || common.model.empty(), "give the model once: as '{}' or as --model '{}'", flags.path, common.model);
  const std::string& name = flags.path.empty() ? common.model : flags.path;
  const bool is_config = std::filesystem::path(name).extension() == ".json";  // needs no weights: no other verb takes one
  const Checkpoint checkpoint = Checkpoint::Open(is_config ? std::filesystem::path(name) : ResolveModelPath(name));
  const std::vector<WeightLine> lines = ListLines(checkpoint);
  if (common.json) PrintInventoryJson(checkpoint, lines);
  else PrintText(checkpoint, lines, flags.all_weights);
  return 0;
}

}  // namespace

VerbFunction AddInspect(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* verb = app.add_subcommand("inspect", "what a checkpoint is: parameters, memory, cache, every weight");
  verb->add_option("path", flags->path, "a folder, a .gguf file, a config.json or a name of `fathom models`")->type_name("");
  verb->add_flag("--all", flags->all_weights, "list every weight, not one line for equal layers");
  AddCommonOptions(*verb, common, kModelFlag | kJsonFlag);
  verb->footer("Examples:\n  fathom inspect DeepSeek-V3/\n  fathom inspect DeepSeek-V3/config.json\n  fathom inspect model.gguf --json");
  return [flags, &common] { return RunInspect(*flags, common); };
}

}  // namespace fathom
