// Where the weights of a model live when its device cannot hold them all.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

#include "model/config.h"
#include "model/model.h"
#include "model/weight_table.h"

namespace fathom {

// Layers [0, n) are on the CPU: n = num_hidden_layers - device_layers, 0 where every layer is on the device.
int64_t NumHostLayers(const ModelConfig& config, const ModelOptions& options);
// The device of a layer's weights (its routed experts apart), keys and values. MTP's layers are on the model's device.
at::Device DeviceOfLayer(const ModelConfig& config, const ModelOptions& options, int64_t layer_idx);
// The device of one weight. The embedding is beside the first layer, unless it is the head too; final norm and head are on the model's device.
at::Device DeviceOfWeight(const ModelConfig& config, const ModelOptions& options, const WeightSpec& spec);
// Whether a forward moves between devices (and so cannot be recorded in a CUDA graph).
bool IsSplit(const ModelConfig& config, const ModelOptions& options);

// Bytes that can still be taken on a device, the CPU among them. Throws MachineError where a device does not say.
int64_t FreeBytesOn(at::Device device);

// A small tensor that several devices read: copied to each when it first asks. Two devices at most.
class DeviceCopies {
 public:
  DeviceCopies() = default;
  DeviceCopies(at::Tensor first) : first_(std::move(first)) {}  // NOLINT: a tensor is the set of its copies
  const at::Tensor& On(at::Device device) const {
    if (first_.device() == device) return first_;
    if (!second_.defined() || second_.device() != device) second_ = first_.to(device);
    return second_;
  }

 private:
  at::Tensor first_;
  mutable at::Tensor second_;
};

}  // namespace fathom
