// The cases that multiply, and the list of all.
#include <ATen/ops/_scaled_mm.h>
#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ops/attention/attention.h"
#include "ops/cache/fp8_latents.h"
#include "ops/cuda_backend.h"
#include "ops/experts/experts.h"
#include "ops/fp8/fp8.h"
#include "ops/linear/linear_rows.h"
#include "bench/cuda_ops/report.h"

namespace fathom {
namespace bench_ops {
namespace {

using at::Tensor;

void BenchLinearRows() {
  struct Shape {
    const char* name;
    int64_t n, k;
  };
  for (const Shape shape : {Shape{"v2-lite head", 102400, 2048}, {"v2-lite dense up", 21888, 2048}, {"v2-lite q_proj", 3072, 2048}, {"v2-lite o_proj", 2048, 2048},
                            {"v2-lite kv_a", 576, 2048}, {"v3 q_b", 24576, 1536}, {"v3 o_proj", 7168, 16384}}) {
    for (const int64_t m : {1, 4, 8, 16}) {
      const double bytes = 2.0 * (shape.n * shape.k + m * shape.k + m * shape.n);
      std::vector<Tensor> weights;
      std::vector<std::function<void()>> calls;
      const Tensor x = at::randn({m, shape.k}, kBf16);
      for (int i = 0; i < Copies(bytes); ++i) {
        const Tensor w = at::randn({shape.n, shape.k}, kBf16);
        calls.push_back([x, w] { ops::linear_rows(x, w, std::nullopt); });
      }
      Report(fmt::format("linear_rows {} m={}", shape.name, m), bytes, 2.0 * m * shape.n * shape.k, calls);
      if (m == 1 || m == 16) {
        calls.clear();
        for (int i = 0; i < Copies(bytes); ++i) {
          const Tensor w = at::randn({shape.n, shape.k}, kBf16).t();
          calls.push_back([x, w] { at::matmul(x, w); });
        }
        Report(fmt::format("  cuBLAS {} m={}", shape.name, m), bytes, 2.0 * m * shape.n * shape.k, calls);
      }
    }
  }
}

void BenchGroupedLinear() {
  for (const auto& [name, experts, n, k] : std::vector<std::tuple<const char*, int64_t, int64_t, int64_t>>{
           {"v2-lite gate_up", 64, 2816, 2048}, {"v2-lite down", 64, 2048, 1408}, {"v3 gate_up", 256, 4096, 7168}}) {
    const Tensor w = at::randn({experts, n, k}, kBf16);
    for (const int64_t rows : {6, 48, 96, 384, 768, 1536, 24576}) {
      if (experts == 256 && rows > 1000) continue;
      const Tensor x = at::randn({rows, k}, kBf16);
      std::vector<std::function<void()>> calls;
      const int64_t active = std::min(experts, rows);
      const double bytes = 2.0 * (active * n * k + rows * (n + k));
      for (int i = 0; i < 8; ++i) {
        Tensor offsets = Offsets(experts, rows);
        if (rows < experts) {  // other experts each time
          std::vector<int32_t> host(experts + 1);
          for (int64_t e = 0; e <= experts; ++e)
            host[e] = static_cast<int32_t>(std::clamp<int64_t>(e - (i * rows) % (experts - rows), 0, rows));
          offsets = at::empty({experts + 1}, at::TensorOptions().dtype(at::kInt));
          std::copy(host.begin(), host.end(), offsets.mutable_data_ptr<int32_t>());
          offsets = offsets.to(at::kCUDA);
        }
        calls.push_back([x, w, offsets] { ops::grouped_linear(x, w, offsets); });
      }
      Report(fmt::format("grouped_linear {} rows={}", name, rows), bytes, 2.0 * rows * n * k, calls);
    }
  }
}

void BenchMla() {
  struct Shape {
    int64_t batch, heads, length, queries = 1;
  };
  for (const auto& [batch, heads, length, queries] :
       std::vector<Shape>{{1, 16, 512}, {1, 16, 4096}, {8, 16, 4096}, {64, 16, 4096}, {128, 16, 512}, {128, 16, 4096}, {128, 16, 8192}, {128, 16, 4096, 2},
                          {128, 16, 4096, 4}, {1, 128, 4096}, {8, 128, 4096}, {128, 128, 4096}, {64, 128, 4096, 2}}) {
    const int64_t pages_a_sequence = length / 64;
    const int64_t total = std::max<int64_t>(batch * pages_a_sequence, 2048);
    const Tensor pages = at::randn({total, 64, 576}, kBf16);
    const Tensor table = at::arange(batch * pages_a_sequence, at::TensorOptions().dtype(at::kInt)).view({batch, pages_a_sequence}).to(at::kCUDA);
    const Tensor cu_q = at::arange(batch + 1, at::TensorOptions().dtype(at::kInt)).mul(queries).to(at::kInt).to(at::kCUDA);
    const Tensor lens = at::zeros({batch}, at::TensorOptions().dtype(at::kInt)).add(length).to(at::kCUDA);
    const Tensor q_latent = at::randn({batch * queries, heads, 512}, kBf16), q_rope = at::randn({batch * queries, heads, 64}, kBf16);
    const double bytes = 2.0 * batch * (length * 576 + queries * heads * (576 + 512)), flop = 2.0 * batch * queries * heads * length * (576 + 512);
    std::vector<std::function<void()>> calls;
    for (int i = 0; i < 8; ++i) {
      const Tensor shifted = table.add(static_cast<int64_t>(i * batch * pages_a_sequence % (total - batch * pages_a_sequence + 1)));
      calls.push_back([=] { ops::mla_paged_attention(q_latent, q_rope, pages, shifted, cu_q, lens, 0.05, std::nullopt); });
    }
    Report(fmt::format("mla_paged_attention b={} q={} h={} kv={}", batch, queries, heads, length), bytes, flop, calls);
    if (length < 4096) continue;
    const int64_t row = ops::Fp8LatentBytes(512, 64);
    const Tensor fp8 = at::empty({total, 64, row}, kBf16.dtype(at::kByte));
    ops::store_fp8_latents(fp8.view({-1, row}), at::arange(total * 64, kBf16.dtype(at::kLong)), pages.view({-1, 576}).narrow(1, 0, 512),
                           pages.view({-1, 576}).narrow(1, 512, 64));
    calls.clear();
    for (int i = 0; i < 8; ++i) {
      const Tensor shifted = table.add(static_cast<int64_t>(i * batch * pages_a_sequence % (total - batch * pages_a_sequence + 1)));
      calls.push_back([=] { ops::mla_paged_attention(q_latent, q_rope, fp8, shifted, cu_q, lens, 0.05, std::nullopt); });
    }
    Report(fmt::format("  FP8 cache b={} q={} h={} kv={}", batch, queries, heads, length), bytes - 2.0 * batch * length * 576 + 1.0 * batch * length * row, flop, calls);
  }
}

void BenchPrefill() {
  for (const auto& [batch, length, heads, dk, dv] : std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>>{
           {1, 4096, 16, 192, 128}, {32, 512, 16, 192, 128}, {8, 2048, 16, 192, 128}, {1, 4096, 128, 192, 128}, {1, 4096, 32, 128, 128}, {8, 2048, 16, 64, 64}}) {
    const int64_t tokens = batch * length;
    const Tensor q = at::randn({tokens, heads, dk}, kBf16), k = at::randn({tokens, heads, dk}, kBf16), v = at::randn({tokens, heads, dv}, kBf16);
    const Tensor cu = at::arange(batch + 1, at::TensorOptions().dtype(at::kInt)).mul(length).to(at::kInt).to(at::kCUDA);
    Report(fmt::format("packed_attention {}x{} h={} {}/{}", batch, length, heads, dk, dv), 2.0 * tokens * heads * (2 * dk + 2 * dv),
           1.0 * batch * length * length * heads * (dk + dv), {[=] { ops::packed_attention(q, k, v, cu, cu, 0.07, -1, std::nullopt); }});
  }
}

// FP8: quantising beside the copy, products beside the bf16 ones of the same shape in the same run.
void BenchFp8Quantize() {
  for (const auto& [rows, width] : std::vector<std::pair<int64_t, int64_t>>{{16384, 7168}, {32768, 2048}, {32768, 7168}}) {
    const Tensor x = at::randn({rows, width}, kBf16), w = at::randn({8, rows / 8, width}, kBf16);
    const Tensor offsets = Offsets(8, rows);
    const double values = 1.0 * rows * width;
    Report(fmt::format("fp8_quantize rows {}x{}", rows, width), values * (3 + 4.0 / 128), 0, {[=] { ops::fp8_quantize_rows(x); }});
    Report(fmt::format("fp8_quantize columns {}x{}", rows, width), values * (3 + 4.0 / 128), 0, {[=] { ops::fp8_quantize_columns(x, offsets); }});
    Report(fmt::format("fp8_quantize both {}x{}", rows, width), values * (4 + 8.0 / 128), 0, {[=] { ops::fp8_quantize_both(x, offsets); }});
    Report(fmt::format("fp8_quantize_weight 8x{}x{}", rows / 8, width), values * 4, 0, {[=] { ops::fp8_quantize_weight(w); }});
  }
}

void BenchFp8Products() {
  struct Shape {
    const char* name;
    int64_t experts, rows, n, k;
  };
  for (const Shape shape : {Shape{"v3 gate_up", 8, 4096, 4096, 7168}, {"v3 down", 8, 4096, 7168, 2048}, {"v2-lite gate_up", 64, 384, 2816, 2048},
                            {"dense 8192", 1, 8192, 8192, 8192}}) {
    const int64_t rows = shape.experts * shape.rows;
    const double flop = 2.0 * rows * shape.n * shape.k;
    const double in = 1.0 * rows * shape.k, out = 1.0 * rows * shape.n, weight = 1.0 * shape.experts * shape.n * shape.k;  // values
    const Tensor offsets = Offsets(shape.experts, rows);
    const Tensor x = at::randn({rows, shape.k}, kBf16), dy = at::randn({rows, shape.n}, kBf16), w = at::randn({shape.experts, shape.n, shape.k}, kBf16);
    const double forward = Report(fmt::format("bf16 beside fp8: {}", shape.name), 2 * (in + weight + out), flop, {[=] { ops::grouped_linear(x, w, offsets); }});
    const double dgrad = Report(fmt::format("bf16 beside fp8: dgrad {}", shape.name), 2 * (in + weight + out), flop, {[=] { ops::grouped_linear_dgrad(dy, w, offsets); }});
    const double wgrad = Report(fmt::format("bf16 beside fp8: wgrad {}", shape.name), 2 * (in + weight + out), flop, {[=] { ops::grouped_linear_wgrad(dy, x, offsets); }});
    const auto [x_rows, x_columns] = ops::fp8_quantize_both(x, offsets);
    const auto [dy_rows, dy_columns] = ops::fp8_quantize_both(dy, offsets);
    const ops::Fp8WeightForms forms = ops::fp8_quantize_weight(w);
    Report(fmt::format("fp8 {}", shape.name), in + weight + 2 * out, flop, {[=, q = x_rows] { ops::fp8_linear(q, forms.plain, offsets, at::kBFloat16); }}, forward);
    Report(fmt::format("fp8 dgrad {}", shape.name), out + weight + 2 * in, flop, {[=, q = dy_rows] { ops::fp8_linear(q, forms.transposed, offsets, at::kBFloat16); }}, dgrad);
    Report(fmt::format("fp8 wgrad {}", shape.name), in + out + 2 * weight, flop, {[=, a = dy_columns, b = x_columns] { ops::fp8_wgrad(a, b, offsets, rows, at::kBFloat16); }}, wgrad);
    Report(fmt::format("fp8 wgrad to float32 {}", shape.name), in + out + 4 * weight, flop,
           {[=, a = dy_columns, b = x_columns] { ops::fp8_wgrad(a, b, offsets, rows, at::kFloat); }}, wgrad);
    if (shape.experts == 1) {  // LibTorch's own, scales 1 x 128 and 128 x 128
      const Tensor x_scales = x_rows.scales.t(), w_scales = forms.plain.scales[0].t();
      Report(fmt::format("_scaled_mm beside fp8: {}", shape.name), in + weight + 2 * out, flop,
             {[=, q = x_rows] { at::_scaled_mm(q.values, forms.plain.values[0].t(), x_scales, w_scales, {}, {}, at::kBFloat16); }}, forward);
    }
  }
}

void BenchFp8Rows() {
  for (const auto& [name, n, k] : std::vector<std::tuple<const char*, int64_t, int64_t>>{{"v3 q_b", 24576, 1536}, {"v3 o_proj", 7168, 16384}, {"v3 dense up", 36864, 7168}}) {
    for (const int64_t m : {1, 8, 16}) {
      const double bytes = 1.0 * n * k + 2.0 * m * (n + k);
      const Tensor x = at::randn({m, k}, kBf16);
      std::vector<std::function<void()>> calls;
      for (int i = 0; i < Copies(bytes); ++i) {
        const ops::Fp8Blocks w = ops::fp8_quantize_weight(at::randn({1, n, k}, kBf16)).plain;
        calls.push_back([x, w] { ops::fp8_linear_rows(x, w, std::nullopt); });
      }
      Report(fmt::format("fp8_linear_rows {} m={}", name, m), bytes, 2.0 * m * n * k, calls);
    }
  }
  const int64_t experts = 64, n = 4096, k = 7168;
  const ops::Fp8Blocks w = ops::fp8_quantize_weight(at::randn({experts, n, k}, kBf16)).plain;
  for (const int64_t rows : {8, 64, 512}) {
    const Tensor x = at::randn({rows, k}, kBf16), offsets = Offsets(experts, rows);
    const double bytes = 1.0 * std::min(rows, experts) * n * k + 2.0 * rows * (n + k);
    Report(fmt::format("fp8_grouped_rows v3 gate_up, {} rows", rows), bytes, 2.0 * rows * n * k, {[=] { ops::fp8_grouped_rows(x, w, offsets); }});
  }
}

}  // namespace
}  // namespace bench_ops

void BenchCudaOps(const CudaOpsOptions& options) {
  const c10::InferenceMode no_grad;
  const bench_ops::Listing listing(options);
  bench_ops::BenchLinearRows();
  bench_ops::BenchGroupedLinear();
  bench_ops::BenchMla();
  bench_ops::BenchPrefill();
  bench_ops::BenchAttentionBackward();
  bench_ops::BenchElementwise();
  bench_ops::BenchFp8Quantize();
  bench_ops::BenchFp8Products();
  bench_ops::BenchFp8Rows();
  ops::CudaTable()->empty_cache();
}

}  // namespace fathom
