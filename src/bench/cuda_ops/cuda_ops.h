// The time of each operator on a CUDA device: graph replays over inputs that no cache holds together.
#pragma once

#include <functional>
#include <string>

#include "bench/ops_bench.h"

namespace fathom {

struct CudaOpsOptions {
  std::string filter = {};  // cases whose name has it; empty: all
  std::function<void(const OpResult&)> on_result = {};
  std::function<bool()> cancelled = {};
};

// On the current device, whose backend is loaded: bf16 and FP8, at the shapes of DeepSeek-V2-Lite, V3 and others. Bytes are those that must move: every
// input read once, every output written once.
void BenchCudaOps(const CudaOpsOptions& options);

}  // namespace fathom
