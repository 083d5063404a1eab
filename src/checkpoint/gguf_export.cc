// A model's weights in GGUF's layout and its configuration in GGUF's keys.
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/narrow.h"

namespace fathom {
namespace {

const char* ArchitectureKey(Architecture architecture) {
  if (architecture == Architecture::kLlama) return "llama";
  return architecture == Architecture::kQwen2 ? "qwen2" : "deepseek2";
}

class KeyWriter {
 public:
  KeyWriter(GgufMetadata& metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix) + ".") {}
  void Unsigned(const char* key, int64_t value) { metadata_.AddUnsigned(prefix_ + key, static_cast<uint32_t>(value)); }
  void Float(const char* key, double value) { metadata_.AddFloat(prefix_ + key, static_cast<float>(value)); }
  void Bool(const char* key, bool value) { metadata_.AddBool(prefix_ + key, value); }
  void String(const char* key, const char* value) { metadata_.AddString(prefix_ + key, value); }

 private:
  GgufMetadata& metadata_;
  std::string prefix_;
};

void AddScaling(const ModelConfig& config, KeyWriter& keys) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeKind::kDefault || scaling.kind == RopeKind::kLlama3) return;  // Llama 3's is a tensor
  FATHOM_USER_CHECK(scaling.kind != RopeKind::kDynamic, "rope_scaling of type dynamic has no form in GGUF");
  keys.String("rope.scaling.type", scaling.kind == RopeKind::kLinear ? "linear" : "yarn");
  keys.Float("rope.scaling.factor", scaling.factor);
  if (scaling.kind == RopeKind::kLinear) return;
  keys.Unsigned("rope.scaling.original_context_length", scaling.original_max_position_embeddings);
  keys.Float("rope.scaling.yarn_beta_fast", scaling.beta_fast);
  keys.Float("rope.scaling.yarn_beta_slow", scaling.beta_slow);
  FATHOM_USER_CHECK(!scaling.attention_factor && scaling.mscale.value_or(0) == scaling.mscale_all_dim.value_or(0),
                    "rope_scaling: GGUF has one scale for mscale and mscale_all_dim, and none for attention_factor");
  if (scaling.mscale_all_dim) keys.Float("rope.scaling.yarn_log_multiplier", 0.1 * *scaling.mscale_all_dim);
}

void AddLatent(const ModelConfig& config, KeyWriter& keys) {
  const int64_t rope = config.qk_rope_head_dim;
  keys.Unsigned("attention.head_count_kv", 1);  // the absorbed form has one latent head
  keys.Unsigned("attention.key_length", config.kv_lora_rank + rope);
  keys.Unsigned("attention.value_length", config.kv_lora_rank);
  keys.Unsigned("attention.key_length_mla", config.qk_nope_head_dim + rope);
  keys.Unsigned("attention.value_length_mla", config.v_head_dim);
  keys.Unsigned("attention.kv_lora_rank", config.kv_lora_rank);
  if (config.q_lora_rank) keys.Unsigned("attention.q_lora_rank", *config.q_lora_rank);
  keys.Unsigned("rope.dimension_count", rope);
  keys.Unsigned("leading_dense_block_count", config.first_k_dense_replace);
  if (config.n_routed_experts == 0) return;
  const bool is_v3 = config.routing == Routing::kNoauxTc;
  keys.Unsigned("expert_count", config.n_routed_experts);
  keys.Unsigned("expert_used_count", config.num_experts_per_tok);
  keys.Unsigned("expert_shared_count", config.n_shared_experts);
  keys.Unsigned("expert_feed_forward_length", config.moe_intermediate_size);
  keys.Float("expert_weights_scale", config.routed_scaling_factor);
  keys.Bool("expert_weights_norm", config.norm_topk_prob);
  keys.Unsigned("expert_gating_func", is_v3 ? 2 : 1);
  keys.Unsigned("expert_group_count", config.n_group);
  keys.Unsigned("expert_group_used_count", config.topk_group);
}

GgufMetadata MakeMetadata(const ModelConfig& config, at::ScalarType dtype, const std::string& name) {
  GgufMetadata metadata;
  const std::string architecture = ArchitectureKey(config.architecture);
  metadata.AddString("general.architecture", architecture);
  metadata.AddString("general.type", "model");
  metadata.AddString("general.name", name);
  metadata.AddUnsigned("general.file_type", dtype == at::kFloat ? 0 : dtype == at::kHalf ? 1 : 32);
  metadata.AddUnsigned("general.quantization_version", 2);
  KeyWriter keys(metadata, architecture);
  keys.Unsigned("vocab_size", config.vocab_size);
  keys.Unsigned("context_length", config.max_position_embeddings);
  keys.Unsigned("embedding_length", config.hidden_size);
  keys.Unsigned("block_count", config.num_hidden_layers);
  keys.Unsigned("feed_forward_length", config.intermediate_size);
  keys.Unsigned("attention.head_count", config.num_attention_heads);
  keys.Float("attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  keys.Float("rope.freq_base", config.rope_theta);
  AddScaling(config, keys);
  if (config.has_mla()) {
    AddLatent(config, keys);
    return metadata;
  }
  keys.Unsigned("attention.head_count_kv", config.num_key_value_heads);
  keys.Unsigned("attention.key_length", config.head_dim);
  keys.Unsigned("attention.value_length", config.head_dim);
  keys.Unsigned("rope.dimension_count", config.head_dim);
  return metadata;
}

OutgoingTensor MakeTensor(const WeightSource& source, at::ScalarType dtype) {
  OutgoingTensor tensor;
  tensor.name = GgufName(source.spec);
  tensor.shape = source.spec.shape;
  // llama.cpp multiplies vectors in float32 only, and routes in it.
  tensor.dtype = source.spec.shape.size() < 2 || source.spec.kind == WeightKind::kRouter ? at::kFloat : dtype;
  tensor.read = source.read;
  tensor.release = source.release;
  return tensor;
}

// Row of Hugging Face's order that stands at `row` where (2j, 2j + 1) are a pair: the inverse of what reading does.
int64_t HubRow(int64_t row, int64_t head_dim) {
  const int64_t head = row / head_dim, i = row % head_dim;
  return head * head_dim + i % 2 * (head_dim / 2) + i / 2;
}

void PairRows(OutgoingTensor& tensor, const WeightSource& source, int64_t head_dim) {
  tensor.release = nullptr;
  const bool is_bias = tensor.shape.size() == 1;
  tensor.read = [&source, head_dim, is_bias](int64_t row0, int64_t row1, void* out, at::ScalarType dtype) {
    const int64_t cols = source.num_cols();
    if (is_bias) {  // always float32
      std::vector<float> values(static_cast<size_t>(cols));
      source.read(0, 1, values.data(), at::kFloat);
      for (int64_t i = 0; i < cols; ++i) static_cast<float*>(out)[i] = values[static_cast<size_t>(HubRow(i, head_dim))];
      return;
    }
    auto* bytes = static_cast<std::byte*>(out);
    const int64_t row_bytes = cols * static_cast<int64_t>(c10::elementSize(dtype));
    for (int64_t row = row0; row < row1; ++row) {
      const int64_t from = HubRow(row, head_dim);
      source.read(from, from + 1, bytes + (row - row0) * row_bytes, dtype);
    }
  };
}

// All experts of one kind in a layer as [E, N, K].
OutgoingTensor StackExperts(std::vector<const WeightSource*> experts, at::ScalarType dtype) {
  OutgoingTensor tensor = MakeTensor(*experts.front(), dtype);
  tensor.shape.insert(tensor.shape.begin(), std::ssize(experts));
  tensor.release = nullptr;
  tensor.read = [experts = std::move(experts)](int64_t row0, int64_t row1, void* out, at::ScalarType type) {
    const int64_t N = experts.front()->num_rows(), row_bytes = experts.front()->num_cols() * static_cast<int64_t>(c10::elementSize(type));
    auto* bytes = static_cast<std::byte*>(out);
    for (int64_t row = row0; row < row1;) {
      const WeightSource& expert = *experts[static_cast<size_t>(row / N)];
      const int64_t begin = row % N, end = std::min(N, begin + row1 - row);
      expert.read(begin, end, bytes + (row - row0) * row_bytes, type);
      if (expert.release) expert.release(begin, end);
      row += end - begin;
    }
  };
  return tensor;
}

// k_b [H, R, nope] (a head's rows transposed) and v_b [H, v, R] of kv_b_proj [H * (nope + v), R].
void SplitKvB(const ModelConfig& config, const WeightSource& source, at::ScalarType dtype, std::vector<OutgoingTensor>& tensors) {
  const int64_t H = config.num_attention_heads, nope = config.qk_nope_head_dim, v = config.v_head_dim, R = config.kv_lora_rank;
  const std::string layer = fmt::format("blk.{}.", source.spec.layer_idx);
  OutgoingTensor k_b = MakeTensor(source, dtype), v_b = k_b;
  k_b.release = v_b.release = nullptr;
  k_b.name = layer + "attn_k_b.weight";
  k_b.shape = {H, R, nope};
  k_b.read = [&source, nope, v, R](int64_t row0, int64_t row1, void* out, at::ScalarType type) {
    std::vector<float> head_rows(static_cast<size_t>(nope * R)), row(static_cast<size_t>(nope));
    auto* bytes = static_cast<std::byte*>(out);
    const int64_t row_bytes = nope * static_cast<int64_t>(c10::elementSize(type));
    int64_t loaded = -1;
    for (int64_t i = row0; i < row1; ++i) {
      const int64_t head = i / R, r = i % R;
      if (head != loaded) source.read(head * (nope + v), head * (nope + v) + nope, head_rows.data(), at::kFloat);
      loaded = head;
      for (int64_t n = 0; n < nope; ++n) row[static_cast<size_t>(n)] = head_rows[static_cast<size_t>(n * R + r)];
      NarrowFloats(row.data(), nope, bytes + (i - row0) * row_bytes, type);
    }
  };
  v_b.name = layer + "attn_v_b.weight";
  v_b.shape = {H, v, R};
  v_b.read = [&source, nope, v, R](int64_t row0, int64_t row1, void* out, at::ScalarType type) {
    auto* bytes = static_cast<std::byte*>(out);
    const int64_t row_bytes = R * static_cast<int64_t>(c10::elementSize(type));
    for (int64_t i = row0; i < row1;) {
      const int64_t head = i / v, begin = i % v, end = std::min(v, begin + row1 - i), from = head * (nope + v) + nope;
      source.read(from + begin, from + end, bytes + (i - row0) * row_bytes, type);
      i += end - begin;
    }
  };
  tensors.push_back(std::move(k_b));
  tensors.push_back(std::move(v_b));
}

// The divisor of each frequency under Llama 3's scaling. Source: the rope_type "llama3" of transformers' modeling_rope_utils.
OutgoingTensor RopeDivisors(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const int64_t half = config.head_dim / 2;
  std::vector<float> divisors;
  for (int64_t i = 0; i < half; ++i) {
    const double wavelength = 2 * M_PI * std::pow(config.rope_theta, static_cast<double>(2 * i) / static_cast<double>(config.head_dim));
    const double turns = static_cast<double>(scaling.original_max_position_embeddings) / wavelength;
    const double smooth = std::clamp((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
    divisors.push_back(static_cast<float>(1 / ((1 - smooth) / scaling.factor + smooth)));
  }
  OutgoingTensor tensor{.name = "rope_freqs.weight", .shape = {half}, .dtype = at::kFloat, .read = {}, .release = {}};
  tensor.read = [divisors](int64_t, int64_t, void* out, at::ScalarType dtype) { NarrowFloats(divisors.data(), std::ssize(divisors), out, dtype); };
  return tensor;
}

}  // namespace

GgufExport PlanGgufExport(const ModelConfig& config, const std::vector<WeightSource>& sources, at::ScalarType dtype, const std::string& name) {
  FATHOM_USER_CHECK(config.architecture != Architecture::kDeepseekV32, "the architecture DeepseekV32ForCausalLM has no form in GGUF");
  FATHOM_USER_CHECK(config.routing != Routing::kTemperatureSoftmax, "routing by a softmax with a temperature has no form in GGUF; convert to --format hf first");
  GgufExport planned{MakeMetadata(config, dtype, name), {}};
  if (config.num_nextn_predict_layers > 0) LogInfo("the {} MTP module(s) are left out of the GGUF file", config.num_nextn_predict_layers);
  if (config.rope_scaling.kind == RopeKind::kLlama3) planned.tensors.push_back(RopeDivisors(config));
  std::map<std::string, std::vector<const WeightSource*>> experts;
  for (const WeightSource& source : sources) {
    const WeightSpec& spec = source.spec;
    if (spec.is_mtp || !source.read) continue;
    if (spec.is_routed_expert) {  // experts come in order: the last completes the stack
      auto& stack = experts[GgufName(spec)];
      stack.push_back(&source);
      if (std::ssize(stack) == config.n_routed_experts) planned.tensors.push_back(StackExperts(std::move(stack), dtype));
      continue;
    }
    if (spec.role == WeightRole::kKvB) {
      SplitKvB(config, source, dtype, planned.tensors);
      continue;
    }
    planned.tensors.push_back(MakeTensor(source, dtype));
    const bool is_rotated = spec.role == WeightRole::kQ || spec.role == WeightRole::kK;
    if (is_rotated && config.architecture == Architecture::kLlama) PairRows(planned.tensors.back(), source, config.head_dim);
  }
  return planned;
}

}  // namespace fathom
