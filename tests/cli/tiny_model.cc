#include "cli/tiny_model.h"

#include <string>

#include "base/file.h"
#include "checkpoint/checkpoint.h"

namespace fathom {
namespace {

std::string Utf8(int code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// GPT-2's names of the bytes: printable ones are themselves, the others follow from U+0100 on.
std::string ByteName(int byte) {
  const auto printable = [](int b) { return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae; };
  if (printable(byte)) return Utf8(byte);
  int code_point = 0x100;
  for (int b = 0; b < byte; ++b) code_point += !printable(b);
  return Utf8(code_point);
}

Json TokenizerJson() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[ByteName(byte)] = byte;
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json end = {{"id", kTinyEnd}, {"content", "<eos>"}, {"single_word", false}, {"lstrip", false},
                    {"rstrip", false}, {"normalized", false}, {"special", true}};
  vocabulary["<eos>"] = kTinyEnd;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array({end})},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr},
            {"fuse_unk", false}, {"byte_fallback", false}, {"vocab", vocabulary}, {"merges", Json::array()}}}};
}

ModelConfig TinyConfig(int64_t context, bool deepseek) {
  ModelConfig config;
  config.architecture = deepseek ? Architecture::kDeepseekV3 : Architecture::kLlama;
  config.vocab_size = kTinyVocabulary;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 2;
  config.num_attention_heads = config.num_key_value_heads = 2;
  config.head_dim = 12;
  config.max_position_embeddings = context;
  config.initializer_range = 0.3;  // far enough from flat logits
  config.eos_token_ids = {kTinyEnd};
  config.dtype = "float32";
  config.n_routed_experts = 0;
  if (!deepseek) return config;
  config.q_lora_rank = 20;
  config.kv_lora_rank = 16;
  config.qk_nope_head_dim = 10;
  config.qk_rope_head_dim = 6;
  config.v_head_dim = 8;
  config.n_routed_experts = 6;
  config.num_experts_per_tok = 2;
  config.n_group = 2;
  config.topk_group = 1;
  config.moe_intermediate_size = 18;
  config.first_k_dense_replace = 1;
  config.num_nextn_predict_layers = 1;
  return config;
}

}  // namespace

void WriteTinyModel(const std::filesystem::path& folder, int64_t context, bool deepseek) {
  Model model(TinyConfig(context, deepseek), {.dtype = at::kFloat});
  model.InitializeRandom(5);
  SaveHuggingFace(model, folder, at::kFloat, int64_t{1} << 40);
  WriteFileAtomically(folder / "tokenizer.json", TokenizerJson().dump());
  const std::string chat_template =
      "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}{% if add_generation_prompt %}[assistant:{% endif %}";
  WriteFileAtomically(folder / "tokenizer_config.json", Json{{"eos_token", "<eos>"}, {"chat_template", chat_template}}.dump());
}

void EditJson(const std::filesystem::path& file, const Json& patch) {
  Json json = ReadJsonFile(file);
  json.merge_patch(patch);
  WriteFileAtomically(file, json.dump());
}

}  // namespace fathom
