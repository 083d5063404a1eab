#include "train/weight_average.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "ops/cuda_backend.h"

namespace fathom {

WeightAverage::WeightAverage(const Optimizer& optimizer, double decay) : decay_(decay) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < optimizer.leaves().size(); ++i) {
    const at::Tensor values = optimizer.ValuesOf(i).detach();
    values_.push_back(values.to(at::TensorOptions().device(at::kCPU).dtype(at::kFloat), /*non_blocking=*/false, /*copy=*/true));
    if (!values.is_cpu()) staged_.push_back(at::empty(values.sizes(), at::TensorOptions().dtype(values.scalar_type()).pinned_memory(true)));
  }
}

void WeightAverage::Update(const Optimizer& optimizer) {
  Wait();
  const at::NoGradGuard no_grad;
  const double share = 1 - decay_;
  if (staged_.empty()) {
    for (size_t i = 0; i < values_.size(); ++i) values_[i].lerp_(optimizer.ValuesOf(i).detach().to(at::kFloat), share);
    return;
  }
  for (size_t i = 0; i < values_.size(); ++i) staged_[i].copy_(optimizer.ValuesOf(i).detach(), /*non_blocking=*/true);
  if (ops::CudaTable() != nullptr) ops::CudaTable()->synchronize();
  averaging_ = std::async(std::launch::async, [this, share] {
    const at::NoGradGuard no_grad_here;
    for (size_t i = 0; i < values_.size(); ++i) values_[i].lerp_(staged_[i].to(at::kFloat), share);
  });
}

std::vector<at::Tensor>& WeightAverage::values() {
  Wait();
  return values_;
}

void WeightAverage::Wait() {
  if (averaging_.valid()) averaging_.get();
}

}  // namespace fathom
