#include "model/weight_store.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <memory>
#include <new>

#include "base/error.h"
#include "model/linear/dense_weight.h"
#include "model/linear/fp8_trained_weight.h"
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

bool WeightStore::KeepsFp8(const WeightSpec& spec) const { return options_.keep_fp8 && config_.quantization && IsFp8Matrix(spec); }

// Matrices one above the other are one for the CUDA kernels where blocks of 128 rows do not cross their limits.
bool WeightStore::CanStackFp8(const std::vector<WeightRole>& roles, int64_t layer_idx, int64_t expert_idx) const {
  const at::Device device = DeviceOfWeight(config_, options_, specs_[Find(roles.front(), layer_idx, expert_idx, false)]);
  if (!device.is_cuda() || config_.quantization->block_rows != ops::kFp8Block || config_.quantization->block_cols != ops::kFp8Block) return false;
  for (size_t i = 0; i + 1 < roles.size(); ++i) {
    if (specs_[Find(roles[i], layer_idx, expert_idx, false)].shape[0] % ops::kFp8Block != 0) return false;
  }
  return true;
}

// Lets the files' parts fill values [sum of rows, K] and their scales.
void WeightStore::StackFp8(const std::vector<WeightRole>& roles, int64_t layer_idx, int64_t expert_idx, const at::Tensor& values_NK, const at::Tensor& scales) {
  int64_t row = 0;
  for (const WeightRole role : roles) {
    const size_t part = Find(role, layer_idx, expert_idx, false);
    const int64_t rows = specs_[part].shape[0], block = row / ops::kFp8Block, blocks = (rows + ops::kFp8Block - 1) / ops::kFp8Block;
    const auto weight = std::make_shared<Fp8BlockWeight>(rows, specs_[part].shape[1], *config_.quantization);
    weight->Use(values_NK.narrow(0, row, rows), scales.narrow(0, block, blocks));
    slots_[part].set_fp8 = [weight](const at::Tensor& values, const at::Tensor& scale) { weight->Set(values, scale); };
    row += rows;
  }
}

std::shared_ptr<GroupedWeight> WeightStore::MakeFp8Grouped(const std::vector<WeightRole>& roles, int64_t layer_idx) {
  const int64_t E = config_.n_routed_experts;
  if (!CanStackFp8(roles, layer_idx, 0)) {
    std::vector<std::shared_ptr<LinearWeight>> experts;
    for (int64_t e = 0; e < E; ++e) experts.push_back(MakeFp8(roles, layer_idx, e));
    return std::make_shared<SeparateGroupedWeight>(std::move(experts));
  }
  int64_t rows = 0;
  for (const WeightRole role : roles) rows += specs_[Find(role, layer_idx, 0, false)].shape[0];
  const WeightSpec& first = specs_[Find(roles.front(), layer_idx, 0, false)];
  const auto blocks = [](int64_t size) { return (size + ops::kFp8Block - 1) / ops::kFp8Block; };
  const ops::Fp8Blocks w{Empty(first, first.name, {E, rows, first.shape[1]}, at::kFloat8_e4m3fn), Empty(first, first.name, {E, blocks(rows), blocks(first.shape[1])}, at::kFloat)};
  for (int64_t e = 0; e < E; ++e) StackFp8(roles, layer_idx, e, w.values.select(0, e), w.scales.select(0, e));
  return std::make_shared<Fp8GroupedWeight>(w, config_.quantization->scale_format == "ue8m0");
}

std::shared_ptr<LinearWeight> WeightStore::MakeFp8(const std::vector<WeightRole>& roles, int64_t layer_idx, int64_t expert_idx) {
  if (CanStackFp8(roles, layer_idx, expert_idx)) {
    int64_t rows = 0;
    for (const WeightRole role : roles) rows += specs_[Find(role, layer_idx, expert_idx, false)].shape[0];
    const WeightSpec& first = specs_[Find(roles.front(), layer_idx, expert_idx, false)];
    const auto blocks = [](int64_t size) { return (size + ops::kFp8Block - 1) / ops::kFp8Block; };
    const at::Tensor values = Empty(first, first.name, {rows, first.shape[1]}, at::kFloat8_e4m3fn), scales = Empty(first, first.name, {blocks(rows), blocks(first.shape[1])}, at::kFloat);
    StackFp8(roles, layer_idx, expert_idx, values, scales);
    const auto stacked = std::make_shared<Fp8BlockWeight>(rows, first.shape[1], *config_.quantization);
    stacked->Use(values, scales);
    return stacked;
  }
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
  const bool trains_fp8 = options_.fp8_training && IsFp8Matrix(specs_[Find(roles.front(), layer_idx, -1, false)]);
  const at::Tensor leaf = Tensor(roles, layer_idx);
  if (trains_fp8) return Linear(std::make_shared<Fp8TrainedWeight>(leaf), bias);
  return Linear(std::make_shared<DenseWeight>(leaf), bias);
}

GroupedLinear WeightStore::MakeGrouped(const std::vector<WeightRole>& roles, int64_t layer_idx) {
  const int64_t E = config_.n_routed_experts;
  const WeightSpec& first = specs_[Find(roles.front(), layer_idx, 0, false)];
  if (KeepsFp8(first)) return GroupedLinear(MakeFp8Grouped(roles, layer_idx));
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
  if (options_.fp8_training && IsFp8Matrix(first)) return GroupedLinear(std::make_shared<Fp8TrainedGroupedWeight>(leaf));
  return GroupedLinear(std::make_shared<DenseGroupedWeight>(leaf));
}

}  // namespace fathom
