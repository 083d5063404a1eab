#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "cuda/adamw/adamw_kernel.h"
#include "cuda/launch.h"

namespace fathom::cuda {
namespace {

using at::Tensor;

int NumBlocks(const Tensor& x) { return static_cast<int>((x.numel() + kBlockValues - 1) / kBlockValues); }

// f(first tensor, one past the last) for runs of at most kMostTensors tensors, with `table` filled for them.
template <typename F>
void ForEachTable(at::TensorList tensors, TensorTable& table, const F& f) {
  for (size_t begin = 0; begin < tensors.size(); begin += kMostTensors) {
    const size_t end = std::min(tensors.size(), begin + kMostTensors);
    table.num_tensors = static_cast<int>(end - begin);
    for (size_t i = begin; i < end; ++i) {
      table.first_block[i - begin + 1] = table.first_block[i - begin] + NumBlocks(tensors[i]);
      table.numel[i - begin] = tensors[i].numel();
    }
    if (table.first_block[table.num_tensors] > 0) f(begin, end);
  }
}

Tensor GradientNorm(at::TensorList gradients) {
  const c10::cuda::CUDAGuard guard(gradients[0].device());
  int num_blocks = 0;
  for (const Tensor& gradient : gradients) num_blocks += NumBlocks(gradient);
  Tensor norm = at::empty({1}, gradients[0].options().dtype(at::kFloat));
  Tensor partial = at::empty({std::max(num_blocks, 1)}, gradients[0].options().dtype(at::kDouble));
  int first_block = 0;
  auto params = std::make_unique<SquaresParams>();
  // Gradients of one dtype a launch.
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    std::vector<Tensor> of_dtype;
    for (const Tensor& gradient : gradients) {
      if (gradient.scalar_type() == dtype) of_dtype.push_back(gradient);
    }
    if (of_dtype.empty()) continue;
    params->dtype = DtypeOf(of_dtype[0]);
    ForEachTable(of_dtype, params->table, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) params->gradients[i - begin] = of_dtype[i].const_data_ptr();
      params->partial = partial.mutable_data_ptr<double>() + first_block;
      LaunchSquares(*params, CurrentStream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
      first_block += params->table.first_block[params->table.num_tensors];
    });
  }
  LaunchNorm(partial.const_data_ptr<double>(), num_blocks, norm.mutable_data_ptr<float>(), CurrentStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return norm;
}

void AdamW(at::TensorList weights, at::TensorList gradients, at::TensorList first_moments, at::TensorList second_moments, at::TensorList masters,
           const Tensor& norm, double lr, double beta1, double beta2, double eps, double weight_decay, double max_norm, int64_t step) {
  const c10::cuda::CUDAGuard guard(weights[0].device());
  auto params = std::make_unique<AdamWParams>();
  params->norm = norm.const_data_ptr<float>();
  params->scalars = ops::MakeAdamWScalars(lr, beta1, beta2, eps, weight_decay, max_norm, step);
  params->has_masters = !masters.empty();
  params->weight_dtype = DtypeOf(weights[0]);
  params->gradient_dtype = DtypeOf(gradients[0]);
  params->moment_dtype = DtypeOf(first_moments[0]);
  ForEachTable(weights, params->table, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      params->weights[i - begin] = weights[i].mutable_data_ptr();
      params->gradients[i - begin] = gradients[i].const_data_ptr();
      params->first_moments[i - begin] = first_moments[i].mutable_data_ptr();
      params->second_moments[i - begin] = second_moments[i].mutable_data_ptr();
      params->masters[i - begin] = masters.empty() ? nullptr : masters[i].mutable_data_ptr<float>();
    }
    LaunchAdamW(*params, CurrentStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
}

}  // namespace

TORCH_LIBRARY_IMPL(fathom, CUDA, m) {
  m.impl("gradient_norm", TORCH_FN(GradientNorm));
  m.impl("adamw", TORCH_FN(AdamW));
}

}  // namespace fathom::cuda
