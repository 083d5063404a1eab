#include "train/recipe.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace fathom {
namespace {

Yaml Section(const Yaml& recipe, const std::string& name) { return recipe.Find(name).value_or(Yaml::Parse("{}", name)); }

at::ScalarType ParseMoments(const Yaml& section) {
  const std::string text = section.GetString("moments", "fp32");
  if (text == "fp32") return at::kFloat;
  if (text == "bf16") return at::kBFloat16;
  section.Fail("moments must be fp32 or bf16, got '{}'", text);
}

void ParseDtype(const Yaml& section, Recipe& recipe) {
  const std::string text = section.GetString("dtype", "bf16");
  if (text == "fp32") recipe.dtype = at::kFloat;
  else if (text == "bf16" || text == "fp8") recipe.dtype = at::kBFloat16;
  else if (text == "fp16") recipe.dtype = at::kHalf;
  else section.Fail("dtype must be fp32, bf16, fp16 or fp8, got '{}'", text);
  recipe.fp8 = text == "fp8";
}

Json ToJson(const Yaml& value) {
  if (value.is_map()) {
    Json json = Json::object();
    for (const auto& [key, child] : value.Entries()) json[key] = ToJson(child);
    return json;
  }
  if (value.is_list()) {
    Json json = Json::array();
    for (const Yaml& item : value.Items()) json.push_back(ToJson(item));
    return json;
  }
  if (value.is_null()) return nullptr;
  const std::string text = value.AsString();
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);  // numbers and booleans spell the same in both
  return json.is_number() || json.is_boolean() ? json : Json(text);
}

ModelConfig ParseModel(const Yaml& section, int64_t vocab_size) {
  if (const auto depth = section.Find("depth")) {
    section.AllowKeys({"depth", "vocab_size", "mtp_depths"});
    ModelConfig config = ConfigOfDepth(depth->AsInt(1, 128), section.GetInt("vocab_size", vocab_size, 1));
    config.num_nextn_predict_layers = section.GetInt("mtp_depths", config.num_nextn_predict_layers, 0, 8);
    return config;
  }
  if (const auto file = section.Find("config")) {
    section.AllowKeys({"config"});
    return ParseModelConfig(ReadJsonFile(file->AsString()), file->AsString());
  }
  std::vector<std::string> known = {"architectures", "model_type", "hidden_act", "torch_dtype", "dtype", "topk_method", "scoring_func", "rope_scaling", "rope_parameters",
                                    "rope_theta", "mlp_bias", "head_dim", "index_n_heads", "index_head_dim", "index_topk", "bos_token_id", "eos_token_id", "pad_token_id"};
  const Json hub = ToHubJson(ModelConfig{});
  for (const auto& [key, value] : hub.items()) known.push_back(key);
  known.push_back("depth");
  section.AllowKeys(known);
  Json json = ToJson(section);
  if (!json.contains("vocab_size")) json["vocab_size"] = vocab_size;
  try {
    return ParseModelConfig(json, section.Where());
  } catch (const UserError& error) {
    section.Fail("{}", error.what());
  }
}

void ParseTrain(const Yaml& section, Recipe& recipe) {
  section.AllowKeys({"steps", "batch_size", "first_batch_size", "batch_ramp_steps", "microbatch_size", "sequence_length", "seed", "dtype", "deterministic",
                     "recompute", "most_bad_steps"});
  recipe.steps = section.GetInt("steps", recipe.steps, 1);
  recipe.batch_size = section.GetInt("batch_size", recipe.batch_size, 1);
  recipe.first_batch_size = section.GetInt("first_batch_size", 0, 0, recipe.batch_size);
  recipe.batch_ramp_steps = section.GetInt("batch_ramp_steps", 0, 0);
  recipe.microbatch_size = section.GetInt("microbatch_size", 0, 0);
  recipe.sequence_length = section.GetInt("sequence_length", recipe.sequence_length, 2);
  recipe.seed = static_cast<uint64_t>(section.GetInt("seed", 1, 0));
  ParseDtype(section, recipe);
  recipe.deterministic = section.GetBool("deterministic", false);
  recipe.trainer.most_bad_steps = section.GetInt("most_bad_steps", recipe.trainer.most_bad_steps, 1);
  const std::string recompute = section.GetString("recompute", "none");
  if (recompute != "none" && recompute != "swiglu" && recompute != "layers") section.Fail("recompute must be none, swiglu or layers, got '{}'", recompute);
  recipe.trainer.recompute.swiglu = recompute == "swiglu";
  if (recompute == "layers") {
    recipe.trainer.recompute.layers.assign(static_cast<size_t>(recipe.model.num_hidden_layers + recipe.model.num_nextn_predict_layers), true);
  }
}

void ParseOptimizer(const Yaml& section, Recipe& recipe) {
  section.AllowKeys({"kind", "momentum", "average", "average_every", "lr", "min_lr", "schedule", "warmup_steps", "decay_fraction", "middle_lr", "constant_fraction", "cosine_fraction", "middle_fraction", "beta1", "beta2", "eps", "weight_decay", "clip", "moments",
                     "masters"});
  OptimizerOptions& optimizer = recipe.trainer.optimizer;
  Schedule& schedule = recipe.trainer.schedule;
  schedule.peak = section.GetNumber("lr", 1e-3, 0, 10);
  schedule.final = section.GetNumber("min_lr", schedule.peak / 10, 0, schedule.peak);
  schedule.middle = section.GetNumber("middle_lr", 0, 0, schedule.peak);
  schedule.kind = ParseScheduleKind(section.GetString("schedule", "cosine"), section.Where() + ": schedule");
  schedule.warmup_steps = section.GetInt("warmup_steps", 0, 0, recipe.steps);
  schedule.decay_fraction = section.GetNumber("decay_fraction", schedule.decay_fraction, 0, 1);
  schedule.constant_fraction = section.GetNumber("constant_fraction", schedule.constant_fraction, 0, 1);
  schedule.cosine_fraction = section.GetNumber("cosine_fraction", schedule.cosine_fraction, 0, 1);
  schedule.middle_fraction = section.GetNumber("middle_fraction", schedule.middle_fraction, 0, 1);
  schedule.total_steps = recipe.steps;
  optimizer.beta1 = section.GetNumber("beta1", optimizer.beta1, 0, 0.9999999);
  optimizer.beta2 = section.GetNumber("beta2", optimizer.beta2, 0, 0.9999999);
  optimizer.eps = section.GetNumber("eps", optimizer.eps, 0, 1);
  optimizer.weight_decay = section.GetNumber("weight_decay", optimizer.weight_decay, 0, 10);
  optimizer.clip = section.GetNumber("clip", optimizer.clip, 0, 1e9);
  optimizer.kind = ParseOptimizerKind(section.GetString("kind", "adamw"), section.Where() + ": kind");
  optimizer.momentum = section.GetNumber("momentum", optimizer.momentum, 0, 0.9999999);
  optimizer.moments = ParseMoments(section);
  recipe.trainer.average_decay = section.GetNumber("average", 0, 0, 0.9999999);
  recipe.trainer.average_every = section.GetInt("average_every", 1, 1);
  optimizer.masters = section.GetBool("masters", true);
}

void ParseObjective(const Yaml& section, Recipe& recipe) {
  section.AllowKeys({"mtp_weight", "mtp_weight_late", "mtp_late_step", "z_loss", "balance", "balance_alpha", "bias_gamma", "bias_freeze_step",
                     "temperature_first", "temperature_last", "expert_capacity", "expert_gradients"});
  ObjectiveOptions& objective = recipe.trainer.objective;
  objective.mtp_weight = section.GetNumber("mtp_weight", objective.mtp_weight, 0, 100);
  recipe.mtp_weight_late = section.GetNumber("mtp_weight_late", -1, -1, 100);
  recipe.mtp_late_step = section.GetInt("mtp_late_step", 0, 0);
  objective.z_loss = section.GetNumber("z_loss", 0, 0, 1);
  const bool has_mixture = recipe.model.n_routed_experts > 0;
  objective.balance = ParseBalanceKind(section.GetString("balance", has_mixture ? "sequence" : "none"), section.Where() + ": balance");
  objective.balance_alpha = section.GetNumber("balance_alpha", objective.balance_alpha, 0, 100);
  const bool has_biases = has_mixture && recipe.model.routing == Routing::kNoauxTc;
  recipe.trainer.balance_gamma = section.GetNumber("bias_gamma", has_biases ? 1e-3 : 0, 0, 1);
  if (recipe.trainer.balance_gamma > 0 && !has_biases) section.Fail("bias_gamma is for routers with biases (noaux_tc); this model has none");
  recipe.trainer.balance_freeze_step = section.GetInt("bias_freeze_step", -1, -1);
  objective.expert_capacity = section.GetNumber("expert_capacity", 0, 0, 1e6);
  const std::string gradients = section.GetString("expert_gradients", "plain");
  if (gradients != "plain" && gradients != "even") section.Fail("expert_gradients must be plain or even, got '{}'", gradients);
  recipe.trainer.even_expert_gradients = gradients == "even";
  recipe.temperature_first = section.GetNumber("temperature_first", 1, 1e-3, 100);
  recipe.temperature_last = section.GetNumber("temperature_last", recipe.temperature_first, 1e-3, 100);
}

void SetSchedules(Recipe& recipe) {
  if (recipe.mtp_weight_late >= 0) {
    recipe.trainer.mtp_weight = [first = recipe.trainer.objective.mtp_weight, late = recipe.mtp_weight_late, at = recipe.mtp_late_step](int64_t step) {
      return step >= at ? late : first;
    };
  }
  if (recipe.temperature_first != 1 || recipe.temperature_last != 1) {
    recipe.trainer.router_temperature = [first = recipe.temperature_first, last = recipe.temperature_last, steps = recipe.steps](int64_t step) {
      const double progress = steps > 1 ? static_cast<double>(step - 1) / static_cast<double>(steps - 1) : 1;
      return first + (last - first) * std::clamp(progress, 0.0, 1.0);
    };
  }
}

}  // namespace

int64_t Recipe::RowsAt(int64_t step) const {
  if (first_batch_size <= 0 || batch_ramp_steps <= 0 || step > batch_ramp_steps) return batch_size;
  const double progress = static_cast<double>(step - 1) / static_cast<double>(batch_ramp_steps);
  return first_batch_size + static_cast<int64_t>(static_cast<double>(batch_size - first_batch_size) * progress);
}

double Recipe::num_tokens() const {
  double rows = static_cast<double>(batch_size) * static_cast<double>(steps);
  for (int64_t step = 1; step <= std::min(steps, batch_ramp_steps); ++step) rows -= static_cast<double>(batch_size - RowsAt(step));
  return rows * static_cast<double>(sequence_length);
}

ModelConfig ConfigOfDepth(int64_t depth, int64_t vocab_size) {
  ModelConfig config;
  config.vocab_size = vocab_size;
  config.num_hidden_layers = depth;
  config.hidden_size = std::max<int64_t>(128, 64 * depth);
  config.num_attention_heads = config.num_key_value_heads = std::max<int64_t>(2, config.hidden_size / 64);
  config.q_lora_rank = config.hidden_size / 2;
  config.kv_lora_rank = config.hidden_size / 4;
  config.qk_nope_head_dim = 48;
  config.qk_rope_head_dim = 16;
  config.v_head_dim = 64;
  config.intermediate_size = 3 * config.hidden_size;
  config.moe_intermediate_size = std::max<int64_t>(32, config.hidden_size / 2);
  config.n_routed_experts = 32;
  config.n_shared_experts = 1;
  config.num_experts_per_tok = 4;
  config.n_group = config.topk_group = 1;
  config.first_k_dense_replace = 1;
  config.num_nextn_predict_layers = 1;
  config.max_position_embeddings = 8192;
  config.initializer_range = 0.02;
  return config;
}

Yaml WithSettings(Yaml yaml, const std::vector<std::string>& set, const std::vector<std::string>& data_paths) {
  for (const std::string& setting : set) {
    const size_t equals = setting.find('=');
    FATHOM_USER_CHECK(equals != std::string::npos && equals > 0, "--set must be path.to.key=value, got '{}'", setting);
    yaml.Set(setting.substr(0, equals), setting.substr(equals + 1));
  }
  if (!data_paths.empty()) {
    yaml.Set("data.sources", Json(data_paths).dump());  // a list in JSON is one in YAML
    yaml.Set("data.mixture", "null");
  }
  return yaml;
}

DataSpec DataOf(const Yaml& recipe) {
  const auto section = recipe.Find("data");
  FATHOM_USER_CHECK(section, "the recipe has no data: give it `data: {{sources: [...]}}` or --data");
  return ParseDataSpec(*section);
}

Recipe ParseRecipe(const Yaml& yaml, const std::string& tokenizer, int64_t vocab_size) {
  yaml.AllowKeys({"model", "tokenizer", "data", "train", "optimizer", "objective", "checkpoint", "evaluate"});
  Recipe recipe;
  recipe.yaml = yaml.Dump();
  recipe.tokenizer = tokenizer;
  recipe.model = ParseModel(yaml.Get("model"), vocab_size);
  FATHOM_USER_CHECK(recipe.model.vocab_size >= vocab_size, "the tokenizer has {} tokens, the model of the recipe a vocabulary of {}", vocab_size,
                    recipe.model.vocab_size);
  recipe.data = DataOf(yaml);
  ParseTrain(Section(yaml, "train"), recipe);
  ParseOptimizer(Section(yaml, "optimizer"), recipe);
  ParseObjective(Section(yaml, "objective"), recipe);
  const Yaml checkpoint = Section(yaml, "checkpoint");
  checkpoint.AllowKeys({"every", "keep_last", "keep_every"});
  recipe.snapshot_every = checkpoint.GetInt("every", recipe.snapshot_every, 0);
  recipe.keep.last = checkpoint.GetInt("keep_last", recipe.keep.last, 1);
  recipe.keep.every = checkpoint.GetInt("keep_every", 0, 0);
  const Yaml evaluate = Section(yaml, "evaluate");
  evaluate.AllowKeys({"every", "rows", "prompts", "new_tokens"});
  recipe.evaluate_every = evaluate.GetInt("every", 0, 0);
  recipe.evaluate_rows = evaluate.GetInt("rows", recipe.evaluate_rows, 1);
  if (const auto prompts = evaluate.Find("prompts")) {
    for (const Yaml& prompt : prompts->Items()) recipe.prompts.push_back(prompt.AsString());
  }
  recipe.new_tokens = evaluate.GetInt("new_tokens", recipe.new_tokens, 1, 4096);
  SetSchedules(recipe);
  return recipe;
}

}  // namespace fathom
