// What of a model goes into a Hugging Face folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "checkpoint/outgoing_tensor.h"
#include "checkpoint/output_folder.h"
#include "checkpoint/weight_source.h"
#include "model/config.h"

namespace fathom {

struct HubExport {
  ModelConfig config;
  std::vector<OutgoingTensor> tensors;
};

// The configuration and tensors that transformers reads as the model of these weights, floating weights in `dtype`. A softmax temperature
// T = exp(log_temperature) (its schedule is 1 at the end) is folded into gate.weight, whose rows are divided by T. The sources must outlive the result.
// Throws UserError for what transformers cannot express.
HubExport PlanHubExport(const ModelConfig& config, const std::vector<WeightSource>& sources, at::ScalarType dtype);

// config.json and the weights' files, into a folder that is being made. Throws MachineError.
void WriteHubExport(const HubExport& hub_export, const OutputFolder& folder, int64_t max_shard_bytes);

}  // namespace fathom
