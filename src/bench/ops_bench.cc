#include "bench/ops_bench.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "ops/attention/attention.h"
#include "ops/linear/linear_rows.h"
#include "ops/norm/norm.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kColdBytes = int64_t{160} << 20;  // more than a last-level cache

double MedianSeconds(double budget, const std::function<void()>& run) {
  std::vector<double> times;
  const auto begin = Clock::now();
  run();
  do {
    const auto start = Clock::now();
    run();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  } while (std::chrono::duration<double>(Clock::now() - begin).count() < budget);
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

class Bench {
 public:
  explicit Bench(const OpsBenchOptions& options) : o_(options) {}

  at::Tensor Random(at::IntArrayRef sizes) const { return at::randn(sizes, at::kFloat).to(o_.dtype); }
  int64_t ValueBytes() const { return static_cast<int64_t>(c10::elementSize(o_.dtype)); }

  void Add(std::string name, std::string shape, double bytes, double flop, const std::function<void()>& run) {
    results_.push_back({std::move(name), std::move(shape), MedianSeconds(o_.seconds_each, run), bytes, flop});
  }

  // As many equal weights as no cache holds, taken in turn.
  void Linear(int64_t N, int64_t K) {
    const int64_t bytes = N * K * ValueBytes(), copies = std::max<int64_t>(1, kColdBytes / bytes);
    std::vector<at::Tensor> weights;
    for (int64_t i = 0; i < copies; ++i) weights.push_back(i == 0 ? Random({N, K}) : weights[0].clone());
    int64_t next = 0;
    for (const int64_t M : o_.rows) {
      const at::Tensor x = Random({M, K});
      Add("linear_rows", fmt::format("{}x{}x{}", M, N, K), static_cast<double>(bytes), 2.0 * M * N * K,
          [&] { ops::linear_rows(x, weights[next++ % copies], std::nullopt); });
    }
    const at::Tensor x = Random({512, K});
    Add("at::linear", fmt::format("512x{}x{}", N, K), 0, 2.0 * 512 * N * K, [&] { at::linear(x, weights[next++ % copies]); });
  }

  void Prefill(int64_t T) {
    const at::Tensor q = Random({T, o_.heads, o_.head_dim}), k = Random({T, o_.key_heads, o_.head_dim});
    const at::Tensor v = Random({T, o_.key_heads, o_.head_dim});
    const at::Tensor cu = at::tensor({0, static_cast<int>(T)}, at::kInt);
    Add("packed_attention", fmt::format("{} tokens, {}/{} heads of {}", T, o_.heads, o_.key_heads, o_.head_dim), 0,
        2.0 * T * (T + 1) * o_.heads * o_.head_dim, [&] { ops::packed_attention(q, k, v, cu, cu, 0.125, -1, std::nullopt); });
  }

  void Decode(int64_t cache_tokens) {
    constexpr int64_t kPage = 64;
    const int64_t pages = (cache_tokens + kPage - 1) / kPage, token_bytes = 2 * o_.key_heads * o_.head_dim * ValueBytes();
    const int64_t copies = std::max<int64_t>(1, kColdBytes / (cache_tokens * token_bytes));
    const at::Tensor k = Random({copies * pages, kPage, o_.key_heads, o_.head_dim}), v = k.clone(), q = Random({1, o_.heads, o_.head_dim});
    const at::Tensor table = at::arange(copies * pages, at::kInt).view({copies, pages}), cu = at::tensor({0, 1}, at::kInt);
    const at::Tensor lens = at::tensor({static_cast<int>(cache_tokens)}, at::kInt);
    int64_t next = 0;
    Add("paged_attention", fmt::format("1 query on {} keys", cache_tokens), static_cast<double>(cache_tokens * token_bytes),
        4.0 * cache_tokens * o_.heads * o_.head_dim,
        [&] { ops::paged_attention(q, k, v, table.narrow(0, next++ % copies, 1), cu, lens, 0.125, -1); });
  }

  void MlaDecode(int64_t cache_tokens) {
    constexpr int64_t kPage = 64;
    const int64_t width = o_.kv_lora_rank + o_.rope_dim, pages = (cache_tokens + kPage - 1) / kPage;
    const int64_t copies = std::max<int64_t>(1, kColdBytes / (cache_tokens * width * ValueBytes()));
    const at::Tensor cache = Random({copies * pages, kPage, width}), q_latent = Random({1, o_.mla_heads, o_.kv_lora_rank});
    const at::Tensor q_rope = Random({1, o_.mla_heads, o_.rope_dim}), cu = at::tensor({0, 1}, at::kInt);
    const at::Tensor table = at::arange(copies * pages, at::kInt).view({copies, pages});
    const at::Tensor lens = at::tensor({static_cast<int>(cache_tokens)}, at::kInt);
    int64_t next = 0;
    Add("mla_paged_attention", fmt::format("1 query of {} heads on {} keys", o_.mla_heads, cache_tokens),
        static_cast<double>(cache_tokens * width * ValueBytes()), 2.0 * cache_tokens * o_.mla_heads * (width + o_.kv_lora_rank),
        [&] { ops::mla_paged_attention(q_latent, q_rope, cache, table.narrow(0, next++ % copies, 1), cu, lens, 0.1, std::nullopt); });
  }

  void Rows(int64_t T) {
    const at::Tensor x = Random({T, o_.hidden}), residual = Random({T, o_.hidden}), w = Random({o_.hidden});
    const at::Tensor gate_up = Random({T, 2 * o_.intermediate}), q = Random({T, o_.heads, o_.head_dim});
    const at::Tensor angle = at::randn({T, o_.head_dim / 2}, at::kFloat), cos = angle.cos(), sin = angle.sin();
    const std::string rows = fmt::format("{} rows", T);
    const auto value_bytes = static_cast<double>(ValueBytes());
    Add("rms_norm", rows, 2 * value_bytes * x.numel(), 0, [&] { ops::rms_norm(x, w, 1e-5); });
    Add("add_rms_norm", rows, 4 * value_bytes * x.numel(), 0, [&] { ops::add_rms_norm(x, residual, w, 1e-5); });
    Add("swiglu", rows, 1.5 * value_bytes * gate_up.numel(), 0, [&] { ops::swiglu(gate_up); });
    Add("rope", rows, 2 * value_bytes * q.numel(), 0, [&] { ops::rope(q, cos, sin, false); });
  }

  std::vector<OpResult> Take() { return std::move(results_); }

 private:
  const OpsBenchOptions& o_;
  std::vector<OpResult> results_;
};

}  // namespace

std::vector<OpResult> BenchOps(const OpsBenchOptions& o) {
  const c10::InferenceMode no_grad;
  Bench bench(o);
  bench.Linear((o.heads + 2 * o.key_heads) * o.head_dim, o.hidden);
  bench.Linear(o.hidden, o.heads * o.head_dim);
  bench.Linear(2 * o.intermediate, o.hidden);
  bench.Linear(o.hidden, o.intermediate);
  bench.Linear(o.vocab, o.hidden);
  for (const int64_t T : o.prefill_tokens) bench.Prefill(T);
  for (const int64_t T : o.cache_tokens) {
    bench.Decode(T);
    bench.MlaDecode(T);
  }
  for (const int64_t T : {int64_t{1}, int64_t{512}}) bench.Rows(T);
  return bench.Take();
}

}  // namespace fathom
