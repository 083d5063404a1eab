#include "engine/generation_config.h"

#include "base/error.h"
#include "engine/sampler.h"

namespace fathom {
namespace {

const Json* Find(const Json& config, const char* key) {
  if (!config.is_object()) return nullptr;
  const auto found = config.find(key);
  return found == config.end() || found->is_null() ? nullptr : &*found;
}

double Number(const Json& config, const char* key, double fallback) {
  const Json* value = Find(config, key);
  if (value == nullptr) return fallback;
  FATHOM_USER_CHECK(value->is_number(), "generation_config.json: {} must be a number, got {}", key, value->dump());
  return value->get<double>();
}

int32_t TokenId(const Json& value) {
  const bool valid = value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() <= INT32_MAX;
  FATHOM_USER_CHECK(valid, "generation_config.json: eos_token_id must be a token id or a list of them, got {}", value.dump());
  return value.get<int32_t>();
}

}  // namespace

SamplingParams ResolveSampling(const SamplingFlags& flags, const Json& generation_config) {
  const Json* do_sample = Find(generation_config, "do_sample");
  FATHOM_USER_CHECK(do_sample == nullptr || do_sample->is_boolean(), "generation_config.json: do_sample must be true or false, got {}",
                    do_sample->dump());
  const bool samples = do_sample != nullptr && do_sample->get<bool>();
  const double top_k = Number(generation_config, "top_k", 0);
  FATHOM_USER_CHECK(top_k >= 0 && top_k < 1e9 && top_k == static_cast<double>(static_cast<int64_t>(top_k)),
                    "generation_config.json: top_k must be an integer of at least 0, got {}", top_k);
  SamplingParams params;
  params.temperature = flags.temperature.value_or(samples ? Number(generation_config, "temperature", 1.0) : 0.0);
  params.top_k = flags.top_k.value_or(static_cast<int64_t>(top_k));
  params.top_p = flags.top_p.value_or(Number(generation_config, "top_p", 1.0));
  params.min_p = flags.min_p.value_or(Number(generation_config, "min_p", 0.0));
  params.repetition_penalty = flags.repetition_penalty.value_or(Number(generation_config, "repetition_penalty", 1.0));
  params.presence_penalty = flags.presence_penalty.value_or(0.0);
  params.frequency_penalty = flags.frequency_penalty.value_or(0.0);
  CheckSampling(params);
  return params;
}

std::vector<int32_t> ResolveEosTokens(const Json& generation_config, const ModelConfig& config, int32_t tokenizer_eos) {
  std::vector<int32_t> ids;
  if (const Json* eos = Find(generation_config, "eos_token_id")) {
    if (!eos->is_array()) return {TokenId(*eos)};
    for (const Json& id : *eos) ids.push_back(TokenId(id));
    return ids;
  }
  ids.assign(config.eos_token_ids.begin(), config.eos_token_ids.end());
  if (ids.empty() && tokenizer_eos >= 0) ids.push_back(tokenizer_eos);
  return ids;
}

}  // namespace fathom
