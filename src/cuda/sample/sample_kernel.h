// ops/sample/sample.h on raw pointers.
#pragma once

#include "cuda/dtype.h"

namespace fathom::cuda {

struct SampleParams {
  const void* logits = nullptr;  // [rows, vocab] of dtype
  int64_t stride = 0;            // of a row, in values
  Dtype dtype = Dtype::kF32;
  const double* settings = nullptr;  // [rows, 8]: temperature, top_k, top_p, min_p, repetition, presence, frequency, uniform
  const double* biases = nullptr;    // [N]
  const int32_t* seen = nullptr;     // [N, 2]: token, count
  const int32_t* limits = nullptr;   // [rows + 1] of the N
  double* scores = nullptr;          // [rows, vocab] scratch: of the seen tokens alone; null where there are none
  unsigned* is_seen = nullptr;       // [rows, SeenWords(vocab)] scratch: a bit a token
  int64_t* tokens = nullptr;         // [rows]
  int rows = 0, vocab = 0;
};
constexpr int SeenWords(int vocab) { return (vocab + 31) / 32; }
void LaunchSample(const SampleParams& params, cudaStream_t stream);

}  // namespace fathom::cuda
