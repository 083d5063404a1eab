#include "bench/cuda_ops/report.h"

#include <ATen/ops/arange.h>

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "ops/cuda_backend.h"

namespace fathom::bench_ops {
namespace {

using at::Tensor;

// Median milliseconds of one call; all are captured in one graph.
double Milliseconds(const Calls& calls) {
  const FathomCudaTable& table = *ops::CudaTable();
  for (const auto& call : calls) call();
  ops::CudaGraph graph;
  graph.Capture([&] {
    for (const auto& call : calls) call();
  });
  std::vector<float> times;
  void *start = table.event_create(), *stop = table.event_create();
  for (int i = 0; i < 12; ++i) {
    table.event_record(start);
    graph.Replay();
    table.event_record(stop);
    float ms = 0;
    table.event_elapsed_ms(start, stop, &ms);
    if (i >= 2) times.push_back(ms);
  }
  table.event_destroy(start);
  table.event_destroy(stop);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2] / calls.size();
}

const CudaOpsOptions* current = nullptr;  // set by Listing

}  // namespace

Listing::Listing(const CudaOpsOptions& options) { current = &options; }
Listing::~Listing() { current = nullptr; }

double Report(const std::string& name, double bytes, double flop, const Calls& calls, double peer_seconds) {
  FATHOM_CHECK(current != nullptr, "a case outside of BenchCudaOps");
  if (name.find(current->filter) == std::string::npos || (current->cancelled && current->cancelled())) return 0;
  const size_t begin = name.find_first_not_of(' '), end = std::min(name.find(' ', begin), name.size());
  OpResult result{.name = name.substr(begin, end - begin), .shape = name.substr(std::min(end + 1, name.size())), .bytes = bytes, .flop = flop};
  try {
    result.seconds = Milliseconds(calls) * 1e-3;
    if (peer_seconds > 0) result.times_peer = peer_seconds / result.seconds;
  } catch (const std::exception& error) {
    result.error = std::string(error.what()).substr(0, 300);
  }
  current->on_result(result);
  return result.seconds;
}

int Copies(double bytes) { return static_cast<int>(std::clamp(4e8 / bytes, 1.0, 24.0)); }

Tensor Offsets(int64_t experts, int64_t rows) {
  const Tensor offsets = at::arange(experts + 1, at::TensorOptions().dtype(at::kLong)).mul(rows).div(experts, "floor").to(at::kInt);
  return offsets.to(at::kCUDA);
}

}  // namespace fathom::bench_ops
