// The rotary part of a configuration, in both spellings: rope_theta and rope_scaling (the hub's), rope_parameters (transformers 5's).
#pragma once

#include <string>

#include "base/json.h"
#include "model/config.h"
#include "model/config_keys.h"

namespace fathom {

// Reads rope_theta, rope_scaling, rope_parameters, partial_rotary_factor and a top-level original_max_position_embeddings into
// config.rope_theta and config.rope_scaling; needs config.max_position_embeddings. Throws UserError.
void ReadRope(ConfigKeys& keys, ModelConfig& config);

// rope_scaling as the hub writes it; null for the default kind.
Json RopeScalingJson(const ModelConfig& config);

}  // namespace fathom
