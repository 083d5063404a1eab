// Memory of a model's weights: leaves (tensors that a trainer updates, some holding several rows of the weight table) and, for every row, the slot
// that a loader fills. Layers ask for their weights by role; names stand in the table alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "model/linear/ggml_weight.h"
#include "model/linear/grouped_linear.h"
#include "model/linear/linear.h"
#include "model/model.h"

namespace fathom {

class WeightStore {
 public:
  WeightStore(const ModelConfig& config, const ModelOptions& options);

  // The tensor of one row of the table, or of several stacked along the first dimension in one leaf. Throws MachineError without memory.
  at::Tensor Tensor(const std::vector<WeightRole>& roles, int64_t layer_idx, bool is_bias = false);
  bool Has(WeightRole role, int64_t layer_idx, bool is_bias = false) const;
  // The matrices of `roles` stacked [sum of rows, K], with their biases where the table has them.
  Linear MakeLinear(const std::vector<WeightRole>& roles, int64_t layer_idx);
  // The matrices of `roles` in ggml's blocks, null unless all of them keep the same format.
  std::shared_ptr<GgmlWeight> MakeGgml(const std::vector<WeightRole>& roles, int64_t layer_idx);
  // The routed experts' matrices of `roles`: [E, sum of rows, K].
  GroupedLinear MakeGrouped(const std::vector<WeightRole>& roles, int64_t layer_idx);

  // Whether the layer's routed experts are on the CPU while the layer is not.
  bool ExpertsAreApart(int64_t layer_idx) const;
  const std::vector<WeightSpec>& specs() const { return specs_; }
  WeightSlot& slot(size_t spec_idx) { return slots_[spec_idx]; }  // empty for ties
  const std::vector<std::pair<std::string, at::Tensor>>& leaves() const { return leaves_; }

 private:
  using Key = std::tuple<int, int64_t, int64_t, bool>;  // role, layer, expert, is it the bias
  size_t Find(WeightRole role, int64_t layer_idx, int64_t expert_idx, bool is_bias) const;
  // On the device of `first`, the first row of the table that the tensor holds.
  at::Tensor Empty(const WeightSpec& first, const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) const;
  at::Tensor Allocate(const WeightSpec& first, const std::string& name, const std::vector<int64_t>& shape);
  bool KeepsFp8(const WeightSpec& spec) const;
  std::shared_ptr<LinearWeight> MakeFp8(const std::vector<WeightRole>& roles, int64_t layer_idx, int64_t expert_idx);
  bool CanStackFp8(const std::vector<WeightRole>& roles, int64_t layer_idx, int64_t expert_idx) const;
  void StackFp8(const std::vector<WeightRole>& roles, int64_t layer_idx, int64_t expert_idx, const at::Tensor& values_NK, const at::Tensor& scales);
  std::shared_ptr<GroupedWeight> MakeFp8Grouped(const std::vector<WeightRole>& roles, int64_t layer_idx);

  const ModelConfig& config_;
  const ModelOptions& options_;
  std::vector<WeightSpec> specs_;
  std::vector<WeightSlot> slots_;
  std::map<Key, size_t> index_;
  std::vector<std::pair<std::string, at::Tensor>> leaves_;
};

}  // namespace fathom
