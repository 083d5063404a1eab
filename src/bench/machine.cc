#include "bench/machine.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include "ops/cuda_backend.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;
typedef uint64_t Line64 __attribute__((vector_size(64)));

double Seconds(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// The exclusive or of all words: it reads each byte once and the result depends on all of them.
uint64_t ReadAll(const Line64* p, int64_t n) {
  Line64 a{}, b{}, c{}, d{};
  for (int64_t i = 0; i + 4 <= n; i += 4) {
    a ^= p[i];
    b ^= p[i + 1];
    c ^= p[i + 2];
    d ^= p[i + 3];
  }
  const Line64 all = a ^ b ^ c ^ d;
  return all[0] ^ all[1] ^ all[2] ^ all[3] ^ all[4] ^ all[5] ^ all[6] ^ all[7];
}

// The least time of one `work` on the current CUDA device, in seconds; each of several measurements spans `repeats` of them.
template <typename Work>
double BestOnDevice(int repeats, Work&& work) {
  const FathomCudaTable& table = *ops::CudaTable();
  void *start = table.event_create(), *stop = table.event_create();
  work();
  double best = std::numeric_limits<double>::infinity();
  for (int pass = 0; pass < 5; ++pass) {
    table.event_record(start);
    for (int i = 0; i < repeats; ++i) work();
    table.event_record(stop);
    float ms = 0;
    table.event_elapsed_ms(start, stop, &ms);
    best = std::min(best, 1e-3 * static_cast<double>(ms) / repeats);
  }
  table.event_destroy(start);
  table.event_destroy(stop);
  return best;
}

MachineLimits MeasureCudaLimits(at::Device device, at::ScalarType dtype) {
  constexpr int64_t kSize = 8192;
  const c10::InferenceMode no_grad;
  const at::TensorOptions options = at::TensorOptions().device(device);
  MachineLimits limits;
  {
    const at::Tensor from = at::zeros({int64_t{1} << 30}, options.dtype(at::kByte)), to = at::empty_like(from);
    limits.memory_gb_per_s = 2.0 * static_cast<double>(from.nbytes()) / BestOnDevice(4, [&] { to.copy_(from); }) / 1e9;
  }
  const at::Tensor a = at::randn({kSize, kSize}, options.dtype(dtype)), b = at::randn({kSize, kSize}, options.dtype(dtype));
  at::Tensor c = at::empty({kSize, kSize}, options.dtype(dtype));
  limits.matrix_gflop_per_s = 2.0 * kSize * kSize * kSize / BestOnDevice(4, [&] { at::matmul_out(c, a, b); }) / 1e9;
  ops::CudaTable()->empty_cache();
  return limits;
}

}  // namespace

MachineLimits MeasureLimits(at::Device device, at::ScalarType dtype) {
  if (device.is_cuda()) return MeasureCudaLimits(device, dtype);
  const int threads = at::get_num_threads();
  return {MeasureReadBandwidth(threads), MeasureMatrixRate(threads, dtype)};
}

double MeasureReadBandwidth(int threads) {
  constexpr int64_t kBytes = int64_t{512} << 20;
  constexpr int kPasses = 6;
  const int64_t part = kBytes / static_cast<int64_t>(sizeof(Line64)) / threads / 4 * 4;
  std::vector<std::vector<Line64>> memory(threads);
  std::vector<uint64_t> results(threads);
  const auto on_every_thread = [&](const auto& work) {
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t) pool.emplace_back([&, t] { work(t); });
    for (std::thread& thread : pool) thread.join();
  };
  on_every_thread([&](int t) { memory[t].assign(part, Line64{} + static_cast<uint64_t>(t + 1)); });
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin = Clock::now();
    on_every_thread([&](int t) { results[t] = ReadAll(memory[t].data(), part); });
    best = std::max(best, static_cast<double>(part * threads) * sizeof(Line64) / Seconds(begin));
  }
  volatile uint64_t keep = 0;
  for (const uint64_t result : results) keep = keep ^ result;
  return best / 1e9;
}

double MeasureMatrixRate(int threads, at::ScalarType dtype) {
  constexpr int64_t kSize = 1536;
  constexpr int kPasses = 5;
  const c10::InferenceMode no_grad;
  const int before = at::get_num_threads();
  at::set_num_threads(threads);
  const at::Tensor a = at::randn({kSize, kSize}, at::kFloat).to(dtype), b = at::randn({kSize, kSize}, at::kFloat).to(dtype);
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin = Clock::now();
    const at::Tensor c = at::matmul(a, b);
    best = std::max(best, 2.0 * kSize * kSize * kSize / Seconds(begin));
  }
  at::set_num_threads(before);
  return best / 1e9;
}

}  // namespace fathom
