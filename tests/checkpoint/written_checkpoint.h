// Folders with a configuration and tensors of the test's own.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/randn.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "checkpoint/dtype_names.h"
#include "model/config.h"
#include "model/weight_table.h"
#include "temporary_folder.h"

namespace fathom {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// The bytes of a safetensors file of these tensors, any dtype.
inline std::string SafetensorsBytes(const NamedTensors& tensors) {
  OrderedJson header = OrderedJson::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor whole = tensor.contiguous();
    const size_t begin = data.size();
    data.append(static_cast<const char*>(whole.const_data_ptr()), whole.nbytes());
    header[name] = {{"dtype", SafetensorsName(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t size = text.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + text + data;
}

inline void WriteCheckpoint(const TemporaryFolder& folder, const Json& config, const NamedTensors& tensors) {
  folder.Write("config.json", config.dump());
  folder.Write("model.safetensors", SafetensorsBytes(tensors));
}

// A Llama of one layer: small enough to read its weights in a debugger.
inline Json TinyLlamaConfig() {
  return {{"architectures", {"LlamaForCausalLM"}}, {"vocab_size", 12}, {"hidden_size", 8}, {"intermediate_size", 10}, {"num_hidden_layers", 1},
          {"num_attention_heads", 2}, {"num_key_value_heads", 1}, {"rms_norm_eps", 1e-5}, {"max_position_embeddings", 32},
          {"tie_word_embeddings", false}, {"torch_dtype", "float32"}};
}

// A DeepSeek-V3 of two layers whose matrices are no multiples of the 16 x 16 blocks of its quantization_config.
inline Json TinyV3Config() {
  return {{"architectures", {"DeepseekV3ForCausalLM"}}, {"vocab_size", 12}, {"hidden_size", 40}, {"intermediate_size", 24}, {"num_hidden_layers", 2},
          {"num_attention_heads", 2}, {"q_lora_rank", 20}, {"kv_lora_rank", 18}, {"qk_nope_head_dim", 6}, {"qk_rope_head_dim", 4}, {"v_head_dim", 5},
          {"n_routed_experts", 4}, {"num_experts_per_tok", 2}, {"n_shared_experts", 1}, {"moe_intermediate_size", 17}, {"first_k_dense_replace", 1},
          {"n_group", 2}, {"topk_group", 1}, {"norm_topk_prob", true}, {"routed_scaling_factor", 2.5}, {"rms_norm_eps", 1e-6},
          {"max_position_embeddings", 32}, {"tie_word_embeddings", false}, {"torch_dtype", "bfloat16"}};
}

// A random value of every weight of the table (ties left out), float32.
inline NamedTensors RandomWeights(const Json& config) {
  NamedTensors tensors;
  int64_t seed = 0;
  for (const WeightSpec& spec : ListWeights(ParseModelConfig(config, "config.json"))) {
    if (!spec.tied_to.empty()) continue;
    tensors.emplace_back(spec.name, at::randn(spec.shape, at::make_generator<at::CPUGeneratorImpl>(++seed), at::TensorOptions()));
  }
  return tensors;
}

inline at::Tensor& TensorOf(NamedTensors& tensors, const std::string& name) {
  for (auto& [known, tensor] : tensors)
    if (known == name) return tensor;
  throw std::out_of_range(name);
}

}  // namespace fathom
