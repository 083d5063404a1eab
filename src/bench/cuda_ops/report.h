// What the cases share: one is a name, what must move and be computed, and the calls to time.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "bench/cuda_ops/cuda_ops.h"

namespace fathom::bench_ops {

inline const at::TensorOptions kBf16 = at::TensorOptions().dtype(at::kBFloat16).device(at::kCUDA);

using Calls = std::vector<std::function<void()>>;

// Where results go while BenchCudaOps runs.
class Listing {
 public:
  explicit Listing(const CudaOpsOptions& options);
  ~Listing();
};

// Times `calls` by graph replay: the same on different inputs, so that together they do not fit in L2. `bytes` are those that must move; `name` is the
// operator, then the shape. Returns the seconds of a call, 0 where it was not measured (another name is asked for); with `peer_seconds`, of another way to the
// same, the result says how many times as fast the call is.
double Report(const std::string& name, double bytes, double flop, const Calls& calls, double peer_seconds = 0);

// Enough copies that a round of them exceeds L2 several times.
int Copies(double bytes);

// Offsets of `rows` rows spread evenly over the experts, int32 on the device.
at::Tensor Offsets(int64_t experts, int64_t rows);

void BenchElementwise();
void BenchAttentionBackward();

}  // namespace fathom::bench_ops
