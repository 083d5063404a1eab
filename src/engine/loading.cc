#include "engine/loading.h"

#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

bool HasTokenizer(const std::filesystem::path& path) {
  return !std::filesystem::is_directory(path) || std::filesystem::exists(path / "tokenizer.json");
}

}  // namespace

LoadedCheckpoint LoadForGeneration(const std::filesystem::path& path, const LoadOptions& options) {
  const Checkpoint checkpoint = Checkpoint::Open(path);
  FATHOM_USER_CHECK(checkpoint.files != nullptr, "--model {}: has a configuration but no weights", path.string());
  CheckCacheFormat(checkpoint.config, options.kv_cache);
  LoadedCheckpoint result;
  // The tokenizer first: it is small, and its mistakes show before the weights are read.
  if (HasTokenizer(path)) {
    result.loaded.tokenizer = Tokenizer::Load(path);
  } else {
    FATHOM_USER_CHECK(!options.need_tokenizer, "--model {}: has no tokenizer.json, which text needs", path.string());
  }
  const ModelOptions model_options{.dtype = ResolveDtype(options.dtype, checkpoint), .device = options.device,
                                   .device_layers = options.gpu_layers, .host_experts = options.cpu_moe, .kv_cache = options.kv_cache,
                                   .keep_fp8 = options.dtype == "auto" && options.device.is_cuda() && HasFp8Blocks(checkpoint),
                                   .keep_ggml = options.dtype == "auto"};
  result.loaded.model = LoadModel(checkpoint, model_options);
  result.loaded.context_length = checkpoint.config.context_length();
  result.path = path;
  result.generation_config = checkpoint.generation_config;
  return result;
}

std::shared_ptr<const ChatTemplate> LoadChatTemplate(const std::filesystem::path& path) {
  auto chat_template = ChatTemplate::Load(path);
  FATHOM_USER_CHECK(chat_template != nullptr, "--model {}: has no chat template; `fathom generate --prompt` works without one", path.string());
  return chat_template;
}

}  // namespace fathom
