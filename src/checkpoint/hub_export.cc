#include "checkpoint/hub_export.h"

#include <cmath>
#include <map>
#include <utility>

#include "base/error.h"
#include "checkpoint/dtype_names.h"
#include "checkpoint/narrow.h"
#include "checkpoint/safetensors_writer.h"

namespace fathom {
namespace {

OutgoingTensor MakeOutgoing(const WeightSource& source, at::ScalarType dtype) {
  OutgoingTensor tensor;
  tensor.name = source.spec.name;
  tensor.shape = source.spec.shape;
  tensor.dtype = source.spec.keep_float32 ? at::kFloat : dtype;
  tensor.read = source.read;
  tensor.release = source.release;
  return tensor;
}

// Rows times `factor`, rounded once.
void ScaleRows(OutgoingTensor& tensor, float factor) {
  tensor.read = [read = std::move(tensor.read), cols = tensor.num_cols(), factor](int64_t row0, int64_t row1, void* out, at::ScalarType dtype) {
    std::vector<float> values(static_cast<size_t>((row1 - row0) * cols));
    read(row0, row1, values.data(), at::kFloat);
    for (float& value : values) value *= factor;
    NarrowFloats(values.data(), std::ssize(values), out, dtype);
  };
}

// layer -> 1 / T
std::map<int64_t, float> InverseTemperatures(const std::vector<WeightSource>& sources) {
  std::map<int64_t, float> inverse;
  for (const WeightSource& source : sources) {
    if (source.spec.role != WeightRole::kLogTemperature || !source.read) continue;
    float log_temperature = 0;
    source.read(0, 1, &log_temperature, at::kFloat);
    inverse[source.spec.layer_idx] = std::exp(-log_temperature);
  }
  return inverse;
}

}  // namespace

HubExport PlanHubExport(const ModelConfig& config, const std::vector<WeightSource>& sources, at::ScalarType dtype) {
  HubExport planned{config, {}};
  planned.config.dtype = TorchName(dtype);
  planned.config.quantization.reset();
  std::map<int64_t, float> inverse_temperatures;
  if (config.routing == Routing::kTemperatureSoftmax) {
    FATHOM_USER_CHECK(!config.norm_topk_prob, "norm_topk_prob is true, which transformers does not apply to this architecture: the model cannot be written for it");
    planned.config.routing = Routing::kGreedySoftmax;
    inverse_temperatures = InverseTemperatures(sources);
  }
  for (const WeightSource& source : sources) {
    if (source.spec.role == WeightRole::kLogTemperature) continue;
    planned.tensors.push_back(MakeOutgoing(source, dtype));
    if (source.spec.role != WeightRole::kRouter) continue;
    if (const auto found = inverse_temperatures.find(source.spec.layer_idx); found != inverse_temperatures.end()) ScaleRows(planned.tensors.back(), found->second);
  }
  return planned;
}

void WriteHubExport(const HubExport& hub_export, const OutputFolder& folder, int64_t max_shard_bytes) {
  int64_t num_bytes = 0;
  for (const OutgoingTensor& tensor : hub_export.tensors) num_bytes += tensor.num_bytes();
  folder.CheckSpace(num_bytes);
  WriteSafetensors(hub_export.tensors, folder.path(), max_shard_bytes);
  OutputFile config(folder.path() / "config.json");
  config.Write(ToHubJson(hub_export.config).dump(2) + "\n");
  config.Close();
}

}  // namespace fathom
