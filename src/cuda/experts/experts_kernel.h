#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/experts/experts.h on raw pointers.

struct SortByExpertParams {
  const int32_t* topk_idx = nullptr;  // [choices]
  int32_t* order = nullptr;           // [choices]
  int32_t* offsets = nullptr;         // [experts + 1]
  int32_t* counts = nullptr;          // [NumSortChunks(choices), experts], scratch; unused with one chunk
  int choices = 0, experts = 0;
};
int NumSortChunks(int choices);
void LaunchSortByExpert(const SortByExpertParams& params, cudaStream_t stream);

// position[order[i]] = i.
void LaunchInverse(const int32_t* order, int32_t* position, int choices, cudaStream_t stream);

struct MoveRowsParams {
  const void* x = nullptr;
  void* y = nullptr;
  const int32_t* order = nullptr;
  const int32_t* position = nullptr;  // the inverse of order; may be null: many rows move faster with it
  const float* weights = nullptr;     // [tokens, top_k]; null: ones
  int64_t tokens = 0;
  int top_k = 0, d = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchGatherTokens(const MoveRowsParams& params, cudaStream_t stream);   // x [tokens, d] -> y [tokens * top_k, d]
void LaunchCombineTokens(const MoveRowsParams& params, cudaStream_t stream);  // x [tokens * top_k, d] -> y [tokens, d]

struct CombineBackwardParams {
  const void* dy = nullptr;  // [tokens, d]
  const void* x = nullptr;   // [tokens * top_k, d]
  const int32_t* order = nullptr;
  const int32_t* position = nullptr;  // as MoveRowsParams'
  const float* weights = nullptr;
  void* dx = nullptr;
  float* dweights = nullptr;
  int64_t tokens = 0;
  int top_k = 0, d = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchCombineBackward(const CombineBackwardParams& params, cudaStream_t stream);

struct GroupedLinearParams {
  const void* a = nullptr;  // forward: x [rows, k]; dgrad, wgrad: dy [rows, n]
  const void* b = nullptr;  // forward, dgrad: w [experts, n, k]; wgrad: x [rows, k]
  void* out = nullptr;      // forward [rows, n]; dgrad [rows, k]; wgrad [experts, n, k]
  const int32_t* offsets = nullptr;
  int rows = 0, n = 0, k = 0, experts = 0;
  Dtype dtype = Dtype::kF32;
};
void LaunchGroupedLinear(const GroupedLinearParams& params, cudaStream_t stream);
void LaunchGroupedLinearDgrad(const GroupedLinearParams& params, cudaStream_t stream);
void LaunchGroupedLinearWgrad(const GroupedLinearParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
