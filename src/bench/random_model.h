// Models of a known shape with random weights, made in place: speed does not depend on what the weights say.
#pragma once

#include <memory>
#include <string>

#include "model/config.h"
#include "model/model.h"

namespace fathom {

// v2-lite: DeepSeek-V2-Lite; v3-layer: one mixture layer of V3's shape with a small vocabulary; moe-1b: a mixture of 1.27B
// parameters of V3's kind (12 layers, 64 experts of 512, top 6) for training; else a config.json. Throws UserError.
ModelConfig NamedConfig(const std::string& name);

// Bytes of the model's weights in `dtype`.
int64_t WeightBytes(const ModelConfig& config, at::ScalarType dtype);

// Throws MachineError when its weights do not fit into the free memory.
std::shared_ptr<Model> MakeRandomModel(const ModelConfig& config, const ModelOptions& options);

}  // namespace fathom
