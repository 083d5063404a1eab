// generation_config.json: what a model's makers advise for sampling, and where its answers end.
#pragma once

#include <optional>
#include <vector>

#include "base/json.h"
#include "engine/generate.h"
#include "model/config.h"

namespace fathom {

// What the user said; the rest comes from generation_config.json, else the defaults of SamplingParams (greedy).
struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k;
};

// do_sample false or absent is temperature 0; true without a temperature is 1. Keys that are absent are off (transformers' own top_k of 50 is
// not taken over). Throws UserError naming the key for a value that is not of its kind or range.
SamplingParams ResolveSampling(const SamplingFlags& flags, const Json& generation_config);

// eos_token_id (a number or a list) of generation_config.json, else of the configuration, else the tokenizer's (-1: none).
std::vector<int32_t> ResolveEosTokens(const Json& generation_config, const ModelConfig& config, int32_t tokenizer_eos);

}  // namespace fathom
