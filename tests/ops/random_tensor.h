// Random test tensors inside memory that is NaN everywhere else: a kernel that reads past its tensor gives NaN.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "ops/test_device.h"

namespace fathom::ops {

class RandomTensors {
 public:
  explicit RandomTensors(uint64_t seed) : generator_(at::make_generator<at::CPUGeneratorImpl>(seed)) {}

  // Normal values, rounded to dtype, contiguous, with NaN before and after them.
  at::Tensor Normal(at::IntArrayRef sizes, at::ScalarType dtype, double scale = 1.0) {
    return Poisoned(at::randn(sizes, generator_, at::TensorOptions().dtype(at::kDouble)).mul(scale).to(dtype).to(TestDevice()));
  }
  // The same in rows `padding` values apart, the padding NaN: a slice of a wider tensor.
  at::Tensor NormalSlice(std::vector<int64_t> sizes, at::ScalarType dtype, int64_t padding) {
    const at::Tensor values = Normal(sizes, dtype);
    sizes.back() += 2 * padding;
    const at::Tensor wide = at::full(sizes, std::numeric_limits<double>::quiet_NaN(), values.options());
    at::Tensor slice = wide.narrow(-1, padding, values.size(-1));
    slice.copy_(values);
    return slice;
  }
  at::Tensor Integers(int64_t low, int64_t high, at::IntArrayRef sizes) {
    return at::randint(low, high, sizes, generator_, at::TensorOptions().dtype(at::kInt)).to(TestDevice());
  }
  int64_t Integer(int64_t low, int64_t high) { return at::randint(low, high, {1}, generator_, at::TensorOptions().dtype(at::kLong)).item<int64_t>(); }

  static at::Tensor Poisoned(const at::Tensor& values) {
    constexpr int64_t kMargin = 96;
    const at::Tensor memory = at::full({values.numel() + 2 * kMargin}, std::numeric_limits<double>::quiet_NaN(), values.options());
    at::Tensor view = memory.narrow(0, kMargin, values.numel()).view(values.sizes());
    view.copy_(values);
    return view;
  }

 private:
  at::Generator generator_;
};

inline at::Tensor IntTensor(const std::vector<int32_t>& values) {
  return at::tensor(values, at::TensorOptions().dtype(at::kInt)).to(TestDevice());
}

inline std::vector<at::ScalarType> FloatDtypes() { return {at::kFloat, at::kBFloat16, at::kHalf}; }

}  // namespace fathom::ops
