#pragma once

#include "cuda/dtype.h"
#include "ops/adamw/adamw_step.h"

namespace fathom::cuda {

// Tensors that one launch works on: block b has values of the tensor i with first_block[i] <= b < first_block[i + 1].
inline constexpr int kMostTensors = 256;
inline constexpr int kBlockValues = 16384;

struct TensorTable {
  int num_tensors = 0;
  int first_block[kMostTensors + 1] = {};
  int64_t numel[kMostTensors] = {};
};

// partial[block] = the sum of squares of the block's values; `first_partial` blocks went before.
struct SquaresParams {
  TensorTable table;
  const void* gradients[kMostTensors] = {};
  double* partial = nullptr;
  Dtype dtype = Dtype::kF32;
};
void LaunchSquares(const SquaresParams& params, cudaStream_t stream);

// norm = sqrt of the sum of partial [count], in a fixed order.
void LaunchNorm(const double* partial, int count, float* norm, cudaStream_t stream);

// ops/adamw/adamw.h's step on up to kMostTensors tensors.
struct AdamWParams {
  TensorTable table;
  void* weights[kMostTensors] = {};
  const void* gradients[kMostTensors] = {};
  void* first_moments[kMostTensors] = {};
  void* second_moments[kMostTensors] = {};
  float* masters[kMostTensors] = {};
  const float* norm = nullptr;
  ops::AdamWScalars scalars;
  bool has_masters = false;
  Dtype weight_dtype = Dtype::kF32, gradient_dtype = Dtype::kF32, moment_dtype = Dtype::kF32;
};
void LaunchAdamW(const AdamWParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
