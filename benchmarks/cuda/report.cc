#include "report.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

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

double copy_limit = 1, product_limit = 1;  // bytes a second, FLOP a second
std::string name_filter;

}  // namespace

void MeasureLimits(const std::string& device, const std::string& filter) {
  name_filter = filter;
  const Tensor source = at::randn({1 << 30}, kBf16);
  Tensor target = at::empty({1 << 30}, kBf16);
  copy_limit = 4.0 * (1 << 30) / (Milliseconds({[=]() mutable { at::neg_out(target, source); }}) * 1e-3);
  const Tensor a = at::randn({8192, 8192}, kBf16), b = at::randn({8192, 8192}, kBf16);
  product_limit = 2.0 * 8192 * 8192 * 8192 / (Milliseconds({[=] { at::matmul(a, b); }, [=] { at::matmul(b, a); }}) * 1e-3);
  fmt::print("{}: copy {:.0f} GB/s (read + written), bf16 product {:.0f} TFLOP/s\n", device, copy_limit * 1e-9, product_limit * 1e-12);
}

double Report(const std::string& name, double bytes, double flop, const Calls& calls, double peer_seconds) {
  if (name.find(name_filter) == std::string::npos) return 0;
  double result = 0;
  try {
    const double seconds = Milliseconds(calls) * 1e-3;
    fmt::print("{:<52} {:>9.2f} us {:>8.0f} GB/s {:>5.1f}% {:>8.1f} TFLOP/s {:>5.1f}%{}\n", name, seconds * 1e6, bytes / seconds * 1e-9,
               100 * bytes / seconds / copy_limit, flop / seconds * 1e-12, 100 * flop / seconds / product_limit,
               peer_seconds > 0 ? fmt::format("  x{:.2f}", peer_seconds / seconds) : "");
    result = seconds;
  } catch (const std::exception& error) {
    fmt::print("{:<52} failed: {}\n", name, std::string(error.what()).substr(0, 300));
  }
  std::fflush(stdout);
  return result;
}

int Copies(double bytes) { return static_cast<int>(std::clamp(4e8 / bytes, 1.0, 24.0)); }

Tensor Offsets(int64_t experts, int64_t rows) {
  const Tensor offsets = at::arange(experts + 1, at::TensorOptions().dtype(at::kLong)).mul(rows).div(experts, "floor").to(at::kInt);
  return offsets.to(at::kCUDA);
}

}  // namespace fathom::bench_ops
