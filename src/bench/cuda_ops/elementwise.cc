// Every operator that only moves values, at sizes of training and prefill, in bf16: the bytes that it must move over its time.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>

#include "ops/adamw/adamw.h"
#include "ops/experts/experts.h"
#include "ops/library.h"
#include "ops/router/router.h"
#include "bench/cuda_ops/report.h"

namespace fathom::bench_ops {
namespace {

using at::Tensor;

const auto kF32 = kBf16.dtype(at::kFloat);
constexpr int64_t kTokens = 16384;

Tensor Random(at::IntArrayRef sizes) { return at::randn(sizes, kBf16); }

// make() makes the inputs of one call and returns it.
template <typename Make>
void Line(const std::string& name, double bytes, const Make& make, int most_copies = 24) {
  Calls calls;
  for (int i = 0; i < std::min(most_copies, Copies(bytes)); ++i) calls.push_back(make());
  Report(name, bytes, 0, calls);
}

void BenchNorm() {
  for (const int64_t d : {512, 2048, 7168}) {
    const double row = 2.0 * kTokens * d;
    const Tensor w = Random({d});
    Line(fmt::format("rms_norm {}x{}", kTokens, d), 2 * row, [&] { return [w, x = Random({kTokens, d})] { ops::RmsNormOp::Call(x, w, 1e-6); }; });
    Line(fmt::format("add_rms_norm {}x{}", kTokens, d), 4 * row,
         [&] { return [w, x = Random({kTokens, d}), y = Random({kTokens, d})] { ops::AddRmsNormOp::Call(x, y, w, 1e-6); }; });
    Line(fmt::format("rms_norm_backward {}x{}", kTokens, d), 3 * row,
         [&] { return [w, x = Random({kTokens, d}), dy = Random({kTokens, d})] { ops::RmsNormBackwardOp::Call(dy, x, w, 1e-6, std::nullopt); }; });
    Line(fmt::format("rms_norm_backward, added to, {}x{}", kTokens, d), 4 * row, [&] {
      return [w, x = Random({kTokens, d}), dy = Random({kTokens, d}), added = Random({kTokens, d})] { ops::RmsNormBackwardOp::Call(dy, x, w, 1e-6, added); };
    });
  }
}

void BenchSwiglu() {
  for (const auto& [rows, f] : std::vector<std::pair<int64_t, int64_t>>{{kTokens, 1024}, {kTokens, 3584}, {6 * kTokens, 1408}}) {
    const double row = 2.0 * rows * f;
    Line(fmt::format("swiglu {}x{}", rows, f), 3 * row, [&, rows = rows, f = f] { return [x = Random({rows, 2 * f})] { ops::SwigluOp::Call(x); }; });
    Line(fmt::format("swiglu_backward {}x{}", rows, f), 5 * row,
         [&, rows = rows, f = f] { return [x = Random({rows, 2 * f}), dy = Random({rows, f})] { ops::SwigluBackwardOp::Call(dy, x); }; });
  }
}

void BenchRope() {
  const auto angles = [](int64_t half) { return std::pair{at::randn({kTokens, half}, kF32), at::randn({kTokens, half}, kF32)}; };
  for (const auto& [heads, dim] : std::vector<std::pair<int64_t, int64_t>>{{1, 64}, {16, 128}, {128, 64}}) {
    const double bytes = 4.0 * kTokens * heads * dim + 4.0 * kTokens * dim;
    const auto [cos, sin] = angles(dim / 2);
    for (const bool interleaved : {false, true}) {
      const std::string size = fmt::format("{}x{}x{}{}", kTokens, heads, dim, interleaved ? " of pairs" : "");
      const auto make = [heads = heads, dim = dim] { return Random({kTokens, heads, dim}); };
      Line("rope " + size, bytes, [&, cos = cos, sin = sin] { return [=, x = make()] { ops::RopeOp::Call(x, cos, sin, interleaved); }; });
      Line("rope_backward " + size, bytes, [&, cos = cos, sin = sin] { return [=, x = make()] { ops::RopeBackwardOp::Call(x, cos, sin, interleaved); }; });
    }
  }
  const auto [cos, sin] = angles(32);
  const double bytes = 4.0 * kTokens * 16 * 192 + 4.0 * kTokens * 64;
  const auto make = [] { return Random({kTokens, 16, 192}); };
  Line(fmt::format("rope_tail {}x16x192", kTokens), bytes, [&, cos = cos, sin = sin] { return [=, x = make()] { ops::RopeTailOp::Call(x, cos, sin, true); }; });
  Line(fmt::format("rope_tail_backward {}x16x192", kTokens), bytes,
       [&, cos = cos, sin = sin] { return [=, x = make()] { ops::RopeTailBackwardOp::Call(x, cos, sin, true); }; });
  Line(fmt::format("mla_keys {}x16", kTokens), 2.0 * kTokens * (16 * 128 + 64 + 16 * 192),
       [&] { return [kv = Random({kTokens, 16, 256}), k_rope = Random({kTokens, 64})] { ops::MlaKeysOp::Call(kv, k_rope, 128); }; });
  Line(fmt::format("mla_keys_backward {}x16", kTokens), 2.0 * kTokens * (16 * 192 + 16 * 128 + 16 * 256 + 64),
       [&] { return [dk = make(), dv = Random({kTokens, 16, 128})] { ops::MlaKeysBackwardOp::Call(dk, dv, 128); }; });
}

void BenchCrossEntropy() {
  for (const auto& [rows, vocab] : std::vector<std::pair<int64_t, int64_t>>{{4096, 8192}, {4096, 32768}, {2048, 102400}, {2048, 129280}}) {
    Line(fmt::format("cross_entropy_rows {}x{}", rows, vocab), 4.0 * rows * vocab, [rows = rows, vocab = vocab] {
      return [logits = Random({rows, vocab}), targets = at::randint(vocab, {rows}, kBf16.dtype(at::kLong)), scales = at::rand({rows}, kF32)] {
        ops::CrossEntropyRowsOp::Call(logits, targets, scales, 1e-4, true);
      };
    }, 2);
  }
}

void BenchExperts() {
  for (const auto& [tokens, top_k, experts, d] : std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t>>{{kTokens, 6, 64, 2048}, {kTokens / 2, 8, 256, 7168}}) {
    const std::string size = fmt::format("{}x{}x{}", tokens, top_k, d);
    const bool is_v3 = experts == 256;
    const ops::RouterParams options = is_v3 ? ops::RouterParams{.top_k = 8, .score_func = 1, .n_group = 8, .topk_group = 4} : ops::RouterParams{.top_k = 6, .score_func = 0};
    const Tensor logits = at::randn({tokens, experts}, kF32);
    const auto [weights, idx] = ops::route(logits, std::nullopt, options);
    const auto [order, offsets] = ops::sort_by_expert(idx, experts);
    const Tensor x = Random({tokens, d}), sorted = Random({tokens * top_k, d});
    Report(fmt::format("route {} of {}", tokens, experts), 4.0 * tokens * (experts + 2 * top_k), 0, {[=] { ops::route(logits, std::nullopt, options); }});
    Report(fmt::format("sort_by_expert {}x{} of {}", tokens, top_k, experts), 8.0 * tokens * top_k, 0,
           {[idx = idx, experts = experts] { ops::sort_by_expert(idx, experts); }});
    const double once = 2.0 * tokens * d;
    Report("gather_tokens " + size, once * (top_k + 1), 0, {[=, order = order, top_k = top_k] { ops::GatherTokensOp::Call(x, order, top_k); }});
    Report("gather_tokens_backward " + size, once * (top_k + 1), 0, {[=, order = order, top_k = top_k] { ops::GatherTokensBackwardOp::Call(sorted, order, top_k); }});
    Report("combine_tokens " + size, once * (top_k + 1), 0, {[=, order = order, weights = weights] { ops::CombineTokensOp::Call(sorted, order, weights); }});
    Report("combine_tokens_backward " + size, once * (2 * top_k + 1), 0,
           {[=, order = order, weights = weights] { ops::CombineTokensBackwardOp::Call(x, sorted, order, weights); }});
  }
}

void BenchCache() {
  for (const int64_t heads : {16, 128}) {
    Line(fmt::format("store_latents {} tokens, {} heads", kTokens, heads), 2.0 * kTokens * (2 * 576 + 2 * heads * 64) + 4.0 * kTokens * 64, [&] {
      return [cache = Random({kTokens, 576}), slots = at::randperm(kTokens, kBf16.dtype(at::kLong)), kv_a = Random({kTokens, 576}), w = Random({512}),
              q = Random({kTokens, heads, 192}), cos = at::randn({kTokens, 32}, kF32), sin = at::randn({kTokens, 32}, kF32)] {
        ops::StoreLatentsOp::Call(cache, slots, kv_a, w, q.narrow(2, 128, 64), cos, sin, 1e-6, true);
      };
    });
  }
  for (const int64_t width : {576, 2048}) {
    const int64_t a = width == 576 ? 512 : 1024;
    Line(fmt::format("store_rows {} tokens of {} bytes", kTokens, 2 * width), 4.0 * kTokens * width, [&] {
      return [cache = Random({kTokens, width}), slots = at::randperm(kTokens, kBf16.dtype(at::kLong)), x = Random({kTokens, a}), y = Random({kTokens, width - a})] {
        ops::StoreRowsOp::Call(cache, slots, x, y);
      };
    });
  }
}

void BenchAdamW() {
  const int64_t n = 200'000'000;
  for (const bool wide : {false, true}) {
    ops::AdamWTensors tensors;
    const auto moments = wide ? kF32 : kBf16;
    tensors.weights = {at::randn({n}, kBf16)};
    tensors.gradients = {at::randn({n}, kBf16)};
    tensors.first_moments = {at::randn({n}, moments)};
    tensors.second_moments = {at::rand({n}, moments)};
    if (wide) tensors.masters = {tensors.weights[0].to(at::kFloat)};
    const Tensor norm = ops::gradient_norm(tensors.gradients);
    Report(fmt::format("adamw 200M values, {}", wide ? "float32 masters and moments" : "all bf16"), (wide ? 28.0 : 14.0) * n, 0,
           {[=] { ops::adamw(tensors, norm, {.lr = 1e-3}); }});
    if (!wide) Report("gradient_norm 200M values", 2.0 * n, 0, {[=] { ops::gradient_norm(tensors.gradients); }});
  }
}

}  // namespace

void BenchElementwise() {
  BenchNorm();
  BenchSwiglu();
  BenchRope();
  BenchCrossEntropy();
  BenchExperts();
  BenchCache();
  BenchAdamW();
}

}  // namespace fathom::bench_ops
