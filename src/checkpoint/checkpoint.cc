#include "checkpoint/checkpoint.h"

#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/dtype_names.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/safetensors.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

using OpenShards = std::unique_ptr<TensorFiles> (*)(const std::vector<fs::path>&);

std::unique_ptr<TensorFiles> OpenIndexed(const fs::path& folder, const fs::path& index_path, OpenShards open) {
  const ShardIndex index = ParseShardIndex(ReadJsonFile(index_path), index_path.string());
  std::set<std::string> names;
  for (const auto& [tensor, file] : index) names.insert(file);
  std::vector<fs::path> shards;
  for (const std::string& name : names) {
    FATHOM_USER_CHECK(fs::exists(folder / name), "{} names {}, which is not in the folder", index_path.string(), name);
    shards.push_back(folder / name);
  }
  auto files = open(shards);
  CheckShardIndex(index, *files, index_path.string());
  return files;
}

// The weights of a folder, or null when it has none.
std::unique_ptr<TensorFiles> OpenWeights(const fs::path& folder) {
  if (fs::exists(folder / "model.safetensors.index.json")) return OpenIndexed(folder, folder / "model.safetensors.index.json", OpenSafetensors);
  if (fs::exists(folder / "model.safetensors")) return OpenSafetensors({folder / "model.safetensors"});
  if (fs::exists(folder / "pytorch_model.bin.index.json")) return OpenIndexed(folder, folder / "pytorch_model.bin.index.json", OpenTorchBin);
  if (fs::exists(folder / "pytorch_model.bin")) return OpenTorchBin({folder / "pytorch_model.bin"});
  return nullptr;
}

// How many MTP modules the files hold, counted from the first.
int64_t CountMtpModules(const TensorFiles& files, const ModelConfig& config) {
  int64_t count = 0;
  const auto holds = [&](const std::string& prefix) {
    for (const TensorEntry& entry : files.entries())
      if (entry.name.starts_with(prefix)) return true;
    return false;
  };
  while (count < config.num_nextn_predict_layers && holds(fmt::format("model.layers.{}.", config.num_hidden_layers + count))) ++count;
  return count;
}

// The type of the first weight in floating point, for a config.json that names none.
void TakeDtypeFromFiles(const Json& json, const TensorFiles& files, ModelConfig& config) {
  for (const char* key : {"dtype", "torch_dtype"})
    if (json.contains(key) && !json.at(key).is_null()) return;
  for (const TensorEntry& entry : files.entries()) {
    if (entry.dtype != at::kFloat && entry.dtype != at::kBFloat16 && entry.dtype != at::kHalf) continue;
    config.dtype = TorchName(entry.dtype);
    return;
  }
}

Checkpoint OpenGgufCheckpoint(const fs::path& path) {
  OpenedGguf opened = OpenGgufParts(path);
  Checkpoint checkpoint;
  checkpoint.path = path;
  checkpoint.is_gguf = true;
  checkpoint.generation_config = Json::object();
  checkpoint.config = ParseModelConfig(HubConfigFromGguf(opened.header, *opened.files), path.string());
  checkpoint.files = std::move(opened.files);
  checkpoint.gguf = std::make_shared<const GgufHeader>(std::move(opened.header));
  return checkpoint;
}

Checkpoint OpenFolder(const fs::path& folder) {
  const fs::path config_path = folder / "config.json";
  if (!fs::exists(config_path)) {
    std::string hint;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".gguf" && hint.empty()) hint = fmt::format(" (for its GGUF give {})", entry.path().string());
    ThrowUserError("{} has no config.json{}", folder.string(), hint);
  }
  const Json json = ReadJsonFile(config_path);
  Checkpoint checkpoint;
  checkpoint.path = folder;
  checkpoint.config = ParseModelConfig(json, config_path.string());
  checkpoint.generation_config = Json::object();
  if (const fs::path generation = folder / "generation_config.json"; fs::exists(generation)) {
    checkpoint.generation_config = ReadJsonFile(generation);
    FATHOM_USER_CHECK(checkpoint.generation_config.is_object(), "{}: must be an object", generation.string());
  }
  checkpoint.files = OpenWeights(folder);
  if (checkpoint.files == nullptr) return checkpoint;
  ModelConfig& config = checkpoint.config;
  if (const int64_t held = CountMtpModules(*checkpoint.files, config); held < config.num_nextn_predict_layers) {
    LogInfo("{}: {} of {} MTP modules are in the files; the others are left out", folder.string(), held, config.num_nextn_predict_layers);
    config.num_nextn_predict_layers = held;
  }
  TakeDtypeFromFiles(json, *checkpoint.files, config);
  return checkpoint;
}

}  // namespace

Checkpoint Checkpoint::Open(const fs::path& path) {
  FATHOM_USER_CHECK(fs::exists(path), "no such model: {}", path.string());
  if (fs::is_directory(path)) return OpenFolder(path);
  if (path.extension() == ".json") {
    Checkpoint checkpoint;
    checkpoint.path = path;
    checkpoint.config = ParseModelConfig(ReadJsonFile(path), path.string());
    checkpoint.generation_config = Json::object();
    return checkpoint;
  }
  FATHOM_USER_CHECK(path.extension() != ".safetensors" && path.extension() != ".bin", "{} is a file of weights; give its folder", path.string());
  return OpenGgufCheckpoint(path);
}

at::ScalarType ResolveDtype(const std::string& flag, const Checkpoint& checkpoint) {
  if (flag == "bf16") return at::kBFloat16;
  if (flag == "fp16") return at::kHalf;
  if (flag == "fp32") return at::kFloat;
  FATHOM_USER_CHECK(flag == "auto", "--dtype must be auto, bf16, fp16 or fp32, got '{}'", flag);
  if (checkpoint.is_gguf || checkpoint.config.quantization.has_value()) return at::kBFloat16;
  return ScalarTypeFromTorchName(checkpoint.config.dtype).value_or(at::kBFloat16);
}

}  // namespace fathom
