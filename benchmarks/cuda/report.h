// Times calls by graph replay and prints a line for each, beside this device's limits.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace fathom::bench_ops {

inline const at::TensorOptions kBf16 = at::TensorOptions().dtype(at::kBFloat16).device(at::kCUDA);

using Calls = std::vector<std::function<void()>>;

// Measures the copy and the bf16 product and prints them; only lines whose name holds `filter` are measured from then on.
void MeasureLimits(const std::string& device, const std::string& filter);

// `calls`: the same on different inputs, so that together they do not fit in L2. Prints microseconds, `bytes` (those that must move) and `flop` over the time and
// their percent of the limits. Returns the seconds of a call, 0 where it was not measured; with `peer_seconds` it prints how many times as fast the call is.
double Report(const std::string& name, double bytes, double flop, const Calls& calls, double peer_seconds = 0);

// Enough copies that a round of them exceeds L2 several times.
int Copies(double bytes);

// Offsets of `rows` rows spread evenly over the experts, int32 on the device.
at::Tensor Offsets(int64_t experts, int64_t rows);

void BenchElementwise();
void BenchAttentionBackward();

}  // namespace fathom::bench_ops
