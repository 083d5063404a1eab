#include "model/weight_store.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <memory>
#include <new>

#include "base/error.h"
#include "model/linear/dense_weight.h"
#include "model/linear/fp8_weight.h"
#include "model/placement.h"
#include "ops/cuda_backend.h"

namespace fathom {

WeightStore::WeightStore(const ModelConfig& config, const ModelOptions& options)
    : config_(config), options_(options), specs_(ListWeights(config)), slots_(specs_.size()) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    const WeightSpec& spec = specs_[i];
    index_[Key(static_cast<int>(spec.role), spec.layer_idx, spec.expert_idx, spec.kind == WeightKind::kBias)] = i;
  }
}

size_t WeightStore::Find(WeightRole role, int64_t layer_idx, int64_t expert_idx, bool is_bias) const {
  const auto found = index_.find(Key(static_cast<int>(role), layer_idx, expert_idx, is_bias));
  FATHOM_CHECK(found != index_.end(), "the weight table has no role {} in layer {}", static_cast<int>(role), layer_idx);
  return found->second;
}

bool WeightStore::Has(WeightRole role, int64_t layer_idx, bool is_bias) const {
  return index_.count(Key(static_cast<int>(role), layer_idx, -1, is_bias)) != 0;
}

at::Tensor WeightStore::Empty(const WeightSpec& first, const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) const {
  const at::Device device = DeviceOfWeight(config_, options_, first);
  try {
    return at::empty(shape, at::TensorOptions().dtype(dtype).device(device));
  } catch (const std::exception& e) {  // c10::Error of an allocator, or std::bad_alloc
    double gigabytes = static_cast<double>(c10::elementSize(dtype)) / 1e9;
    for (const int64_t size : shape) gigabytes *= static_cast<double>(size);
    size_t free_bytes = 0, total_bytes = 0;
    if (device.is_cpu() || ops::CudaTable() == nullptr || ops::CudaTable()->memory_info(device.index(), &free_bytes, &total_bytes) != 0) {
      ThrowMachineError("not enough memory for {}: {:.2f} GB asked", name, gigabytes);
    }
    ThrowMachineError("not enough memory on {} for {}: {:.2f} GB asked, {:.2f} of {:.2f} GB free; --gpu-layers N or --cpu-moe keeps weights on the CPU",
                      device.str(), name, gigabytes, static_cast<double>(free_bytes) / 1e9, static_cast<double>(total_bytes) / 1e9);
  }
}

bool WeightStore::ExpertsAreApart(int64_t layer_idx) const {
  return options_.host_experts && !DeviceOfLayer(config_, options_, layer_idx).is_cpu();
}

at::Tensor WeightStore::Allocate(const WeightSpec& first, const std::string& name, const std::vector<int64_t>& shape) {
  const at::Tensor leaf = Empty(first, name, shape, first.keep_float32 ? at::kFloat : options_.dtype);
  leaves_.emplace_back(name, leaf);
  return leaf;
}

at::Tensor WeightStore::Tensor(const std::vector<WeightRole>& roles, int64_t layer_idx, bool is_bias) {
  std::vector<size_t> parts;
  int64_t rows = 0;
  for (const WeightRole role : roles) {
    parts.push_back(Find(role, layer_idx, -1, is_bias));
    rows += specs_[parts.back()].shape[0];
  }
  const WeightSpec& first = specs_[parts.front()];
  std::vector<int64_t> shape = first.shape;
  shape[0] = rows;
  const std::string name = parts.size() == 1 ? first.name : fmt::format("{}+{}", first.name, parts.size() - 1);
  const at::Tensor leaf = Allocate(first, name, shape);
  int64_t row = 0;
  for (const size_t part : parts) {
    slots_[part].values = leaf.narrow(0, row, specs_[part].shape[0]);
    row += specs_[part].shape[0];
  }
  return leaf;
}

// Attention's and the feed-forward networks' matrices are in FP8 in the files; what the table keeps in float32 is not, nor MTP's projection.
bool WeightStore::KeepsFp8(const WeightSpec& spec) const {
  return options_.keep_fp8 && config_.quantization && spec.kind == WeightKind::kLinear && !spec.keep_float32 && spec.role != WeightRole::kMtpProjection;
}

std::shared_ptr<LinearWeight> WeightStore::MakeFp8(const std::vector<WeightRole>& roles, int64_t layer_idx, int64_t expert_idx) {
  std::vector<std::shared_ptr<LinearWeight>> parts;
  for (const WeightRole role : roles) {
    const size_t part = Find(role, layer_idx, expert_idx, false);
    const auto weight = std::make_shared<Fp8BlockWeight>(specs_[part].shape[0], specs_[part].shape[1], *config_.quantization);
    const at::Device device = DeviceOfWeight(config_, options_, specs_[part]);
    slots_[part].set_fp8 = [weight, device](const at::Tensor& values, const at::Tensor& scales) { weight->Set(values.to(device), scales.to(device)); };
    parts.push_back(weight);
  }
  if (parts.size() == 1) return parts.front();
  return std::make_shared<StackedWeight>(std::move(parts));
}

std::shared_ptr<GgmlWeight> WeightStore::MakeGgml(const std::vector<WeightRole>& roles, int64_t layer_idx) {
  std::optional<ops::BlockFormat> format;
  int64_t rows = 0, cols = 0;
  for (const WeightRole role : roles) {
    const WeightSpec& spec = specs_[Find(role, layer_idx, -1, false)];
    const auto found = options_.block_formats.find(spec.name);
    if (found == options_.block_formats.end() || (format && *format != found->second)) return nullptr;
    format = found->second;
    rows += spec.shape[0];
    cols = spec.shape[1];
  }
  const WeightSpec& first = specs_[Find(roles.front(), layer_idx, -1, false)];
  const at::Tensor blocks = Empty(first, first.name, {rows, cols / ops::kBlockValues * ops::BlockBytes(*format)}, at::kByte);
  int64_t row = 0;
  for (const WeightRole role : roles) {
    const size_t part = Find(role, layer_idx, -1, false);
    slots_[part].blocks = blocks.narrow(0, row, specs_[part].shape[0]);
    row += specs_[part].shape[0];
  }
  return std::make_shared<GgmlWeight>(blocks, *format);
}

Linear WeightStore::MakeLinear(const std::vector<WeightRole>& roles, int64_t layer_idx) {
  std::optional<at::Tensor> bias;
  if (Has(roles.front(), layer_idx, true)) bias = Tensor(roles, layer_idx, true);
  if (KeepsFp8(specs_[Find(roles.front(), layer_idx, -1, false)])) return Linear(MakeFp8(roles, layer_idx, -1), bias);
  if (auto weight = MakeGgml(roles, layer_idx)) return Linear(std::move(weight), bias);
  return Linear(std::make_shared<DenseWeight>(Tensor(roles, layer_idx)), bias);
}

GroupedLinear WeightStore::MakeGrouped(const std::vector<WeightRole>& roles, int64_t layer_idx) {
  const int64_t E = config_.n_routed_experts;
  const WeightSpec& first = specs_[Find(roles.front(), layer_idx, 0, false)];
  if (KeepsFp8(first)) {
    std::vector<std::shared_ptr<LinearWeight>> experts;
    for (int64_t e = 0; e < E; ++e) experts.push_back(MakeFp8(roles, layer_idx, e));
    return GroupedLinear(std::make_shared<SeparateGroupedWeight>(std::move(experts)));
  }
  int64_t rows = 0;
  for (const WeightRole role : roles) rows += specs_[Find(role, layer_idx, 0, false)].shape[0];
  const std::string name = fmt::format("{}+{}", first.name, E * static_cast<int64_t>(roles.size()) - 1);
  const at::Tensor leaf = Allocate(first, name, {E, rows, first.shape[1]});
  for (int64_t e = 0; e < E; ++e) {
    int64_t row = 0;
    for (const WeightRole role : roles) {
      const size_t part = Find(role, layer_idx, e, false);
      slots_[part].values = leaf.select(0, e).narrow(0, row, specs_[part].shape[0]);
      row += specs_[part].shape[0];
    }
  }
  return GroupedLinear(std::make_shared<DenseGroupedWeight>(leaf));
}

}  // namespace fathom
