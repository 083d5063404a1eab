// The time of each operator at a model's shapes, beside the machine's limits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace fathom {

// The shapes of one model. Defaults are SmolLM2-135M's.
struct OpsBenchOptions {
  at::ScalarType dtype = at::kBFloat16;
  int64_t hidden = 576, heads = 9, key_heads = 3, head_dim = 64, intermediate = 1536, vocab = 49152;
  int64_t kv_lora_rank = 512, rope_dim = 64, mla_heads = 16;  // MLA's absorbed decode (V2-Lite's)
  std::vector<int64_t> rows = {1, 4, 16};                     // of linear_rows
  std::vector<int64_t> prefill_tokens = {512, 2048};
  std::vector<int64_t> cache_tokens = {512, 4096};  // keys of a decode step
  double seconds_each = 0.15;
};

// On the CPU memory operations report bytes, products FLOP; the other is 0. Times are the median of many runs over memory that no cache holds.
struct OpResult {
  std::string name, shape;
  double seconds = 0;
  double bytes = 0, flop = 0;
  double times_peer = 0;   // how many times as fast as its peer (the case before it); 0: none
  std::string error = {};  // why it was not measured
  double gigabytes_per_s() const { return bytes / seconds / 1e9; }
  double gigaflop_per_s() const { return flop / seconds / 1e9; }
};

// On the CPU, with LibTorch's number of threads.
std::vector<OpResult> BenchOps(const OpsBenchOptions& options);

}  // namespace fathom
