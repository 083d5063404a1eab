#include "model/placement.h"

#include <algorithm>

#include "base/error.h"
#include "base/free_memory.h"
#include "ops/cuda_backend.h"

namespace fathom {

int64_t NumHostLayers(const ModelConfig& config, const ModelOptions& options) {
  if (options.device.is_cpu() || options.device_layers < 0) return 0;
  return std::max<int64_t>(0, config.num_hidden_layers - options.device_layers);
}

at::Device DeviceOfLayer(const ModelConfig& config, const ModelOptions& options, int64_t layer_idx) {
  return layer_idx < NumHostLayers(config, options) ? at::Device(at::kCPU) : options.device;
}

at::Device DeviceOfWeight(const ModelConfig& config, const ModelOptions& options, const WeightSpec& spec) {
  if (spec.role == WeightRole::kEmbedTokens && config.tie_word_embeddings) return options.device;
  if (spec.role == WeightRole::kEmbedTokens) return DeviceOfLayer(config, options, 0);
  if (spec.layer_idx < 0) return options.device;
  if (spec.is_routed_expert && options.host_experts) return at::kCPU;
  return DeviceOfLayer(config, options, spec.layer_idx);
}

int64_t FreeBytesOn(at::Device device) {
  if (!device.is_cuda()) return FreeMemoryBytes();
  size_t free_bytes = 0, total_bytes = 0;
  const FathomCudaTable* table = ops::CudaTable();
  FATHOM_CHECK(table != nullptr, "a CUDA device without its backend");
  table->empty_cache();
  if (table->memory_info(std::max<int32_t>(device.index(), 0), &free_bytes, &total_bytes) != 0) ThrowMachineError("the device's memory: {}", table->last_error());
  return static_cast<int64_t>(free_bytes);
}

bool IsSplit(const ModelConfig& config, const ModelOptions& options) {
  return NumHostLayers(config, options) > 0 || (options.host_experts && config.n_routed_experts > 0 && !options.device.is_cpu());
}

}  // namespace fathom
