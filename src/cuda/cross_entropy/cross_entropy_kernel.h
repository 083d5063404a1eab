#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

// ops/library.h's cross_entropy_rows on raw pointers: logits [rows, vocab] packed become their gradient scale (softmax (1 + 2 z lse) - onehot).
struct CrossEntropyParams {
  void* logits = nullptr;
  const int64_t* targets = nullptr;  // kIgnoredTarget: nothing counts
  const float* scales = nullptr;
  float* nll = nullptr;
  float* lse = nullptr;
  int64_t rows = 0, ignored = -100;
  int vocab = 0, shared_bytes = 0, num_processors = 0;  // shared_bytes: that a block of the device may have
  float z_loss = 0;
  bool gradient = true;
  Dtype dtype = Dtype::kF32;
};
void LaunchCrossEntropy(const CrossEntropyParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
